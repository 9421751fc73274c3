/* The row in C: libuv, which is under uvloop. The alloc callback hands the loop
 * what is missing of the header, then what is missing of the payload, so that
 * bytes arrive where they belong; header and payload leave in one uv_try_write, and
 * reading stops only for what that could not take. */

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#define MAX_FRAME (256u << 20)

static int little; /* u64le, or else u32be */

static size_t prefix_size(void) { return little ? 8 : 4; }

static void encode(unsigned char *header, uint64_t length) {
    for (size_t i = 0; i < prefix_size(); i++)
        header[little ? i : prefix_size() - 1 - i] = (unsigned char)(length >> (8 * i));
}

static uint64_t decode(const unsigned char *header) {
    uint64_t length = 0;
    for (size_t i = 0; i < prefix_size(); i++)
        length |= (uint64_t)header[little ? i : prefix_size() - 1 - i] << (8 * i);
    return length;
}

static void fail(const char *what, int error) {
    fprintf(stderr, "libuv: %s: %s\n", what, uv_strerror(error));
    exit(1);
}

static void must(const char *what, int error) {
    if (error < 0)
        fail(what, error);
}

/* Either end of a connection. */
struct wire {
    union {
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } handle;
    uv_write_t write;
    unsigned char header[8];
    unsigned char *payload;
    size_t room, length, filled;
    int in_payload;
    void (*received)(struct wire *);
};

static void open_handle(struct wire *wire, int unix_socket) {
    if (unix_socket)
        must("a pipe", uv_pipe_init(uv_default_loop(), &wire->handle.pipe, 0));
    else
        must("a socket", uv_tcp_init(uv_default_loop(), &wire->handle.tcp));
    wire->handle.stream.data = wire;
}

static void closed(uv_handle_t *handle) {
    struct wire *wire = handle->data;
    free(wire->payload);
    free(wire);
}

static void hang_up(struct wire *wire) {
    uv_handle_t *handle = (uv_handle_t *)&wire->handle.stream;
    if (!uv_is_closing(handle))
        uv_close(handle, closed);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct wire *wire = handle->data;
    (void)suggested;
    if (wire->in_payload)
        *buffer = uv_buf_init((char *)wire->payload + wire->filled,
                              (unsigned)(wire->length - wire->filled));
    else
        *buffer = uv_buf_init((char *)wire->header + wire->filled,
                              (unsigned)(prefix_size() - wire->filled));
}

static void broken(struct wire *wire, int error);

static void arrived(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    struct wire *wire = stream->data;
    (void)buffer;
    if (count == 0)
        return;
    if (count < 0) {
        broken(wire, (int)count);
        return;
    }
    wire->filled += (size_t)count;
    if (!wire->in_payload) {
        if (wire->filled < prefix_size())
            return;
        uint64_t length = decode(wire->header);
        if (length > MAX_FRAME) {
            broken(wire, UV_EMSGSIZE);
            return;
        }
        wire->length = (size_t)length;
        if (wire->room < wire->length) {
            free(wire->payload);
            wire->payload = malloc(wire->length);
            if (wire->payload == NULL)
                fail("a payload", UV_ENOMEM);
            wire->room = wire->length;
        }
        wire->in_payload = 1;
        wire->filled = 0;
    }
    if (wire->filled == wire->length) {
        wire->in_payload = 0;
        wire->filled = 0;
        wire->received(wire);
    }
}

/* Sends at once what the kernel takes. The rest is left in `left`; returns how many bytes
 * that is, or an error. */
static ssize_t try_to_send(struct wire *wire, const unsigned char *payload, size_t length,
                           uv_buf_t left[2]) {
    encode(wire->header, length);
    left[0] = uv_buf_init((char *)wire->header, (unsigned)prefix_size());
    left[1] = uv_buf_init((char *)payload, (unsigned)length);
    int sent = uv_try_write(&wire->handle.stream, left, 2);
    if (sent == UV_EAGAIN)
        sent = 0;
    if (sent < 0)
        return sent;
    size_t of_header = (size_t)sent < left[0].len ? (size_t)sent : left[0].len;
    left[0].base += of_header;
    left[0].len -= of_header;
    left[1].base += (size_t)sent - of_header;
    left[1].len -= (size_t)sent - of_header;
    return (ssize_t)(left[0].len + left[1].len);
}

/* The server. */

static void answered(uv_write_t *write, int error) {
    struct wire *wire = write->handle->data;
    if (error == 0)
        error = uv_read_start(&wire->handle.stream, allocate, arrived);
    if (error < 0)
        hang_up(wire);
}

static void answer(struct wire *wire) {
    uv_buf_t left[2];
    ssize_t rest = try_to_send(wire, wire->payload, wire->length, left);
    if (rest > 0) {
        /* The next frame would overwrite this one. */
        uv_read_stop(&wire->handle.stream);
        rest = uv_write(&wire->write, &wire->handle.stream, left, 2, answered);
    }
    if (rest < 0)
        hang_up(wire);
}

static int listening_on_unix;

static void admit(uv_stream_t *listener, int status) {
    if (status < 0)
        return;
    struct wire *wire = calloc(1, sizeof *wire);
    if (wire == NULL)
        fail("a connection", UV_ENOMEM);
    open_handle(wire, listening_on_unix);
    wire->received = answer;
    int error = uv_accept(listener, &wire->handle.stream);
    if (error == 0 && !listening_on_unix)
        error = uv_tcp_nodelay(&wire->handle.tcp, 1);
    if (error == 0)
        error = uv_read_start(&wire->handle.stream, allocate, arrived);
    if (error < 0)
        hang_up(wire);
}

static struct sockaddr_in parse(const char *address) {
    const char *colon = strrchr(address, ':');
    char host[64];
    struct sockaddr_in parsed;
    if (colon == NULL || (size_t)(colon - address) >= sizeof host)
        fail(address, UV_EINVAL);
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    must(address, uv_ip4_addr(host, atoi(colon + 1), &parsed));
    return parsed;
}

static void serve(const char *address) {
    static struct wire listener;
    listening_on_unix = strncmp(address, "unix:", 5) == 0;
    open_handle(&listener, listening_on_unix);
    if (listening_on_unix) {
        unlink(address + 5);
        must(address, uv_pipe_bind(&listener.handle.pipe, address + 5));
    } else {
        struct sockaddr_in name = parse(address);
        must(address, uv_tcp_bind(&listener.handle.tcp, (struct sockaddr *)&name, 0));
    }
    must(address, uv_listen(&listener.handle.stream, 65535, admit));
    if (listening_on_unix) {
        printf("listening on %s\n", address);
    } else {
        struct sockaddr_in name;
        int size = sizeof name;
        char host[64];
        must(address, uv_tcp_getsockname(&listener.handle.tcp, (struct sockaddr *)&name, &size));
        uv_ip4_name(&name, host, sizeof host);
        printf("listening on %s:%d\n", host, ntohs(name.sin_port));
    }
    fflush(stdout);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}

/* The client. */

static unsigned char *frame;
static size_t frame_size;
static long frames, warmup, done;
static uint64_t started;
static int is_client;

static void broken(struct wire *wire, int error) {
    if (is_client)
        fail("the connection", error);
    hang_up(wire);
}

static void wait_for_the_word(void) {
    int byte;
    while ((byte = getchar()) != '\n' && byte != EOF)
        ;
}

/* The request of a write is ours again only when its callback was called, which
 * may be after the answer has come. */
static int sending, answer_awaited;

static void send_next(struct wire *wire);

static void sent(uv_write_t *write, int error) {
    must("sending", error);
    sending = 0;
    if (!answer_awaited)
        send_next(write->handle->data);
}

static void send_next(struct wire *wire) {
    uv_buf_t left[2];
    answer_awaited = 1;
    ssize_t rest = try_to_send(wire, frame, frame_size, left);
    if (rest > 0) {
        sending = 1;
        rest = uv_write(&wire->write, &wire->handle.stream, left, 2, sent);
    }
    must("sending", (int)rest);
}

static void check(const struct wire *wire) {
    if (frame_size != 0 && memcmp(wire->payload, frame, frame_size) != 0) {
        fprintf(stderr, "libuv: an answer of wrong bytes\n");
        exit(1);
    }
}

static void start_clock(void) {
    puts("ready");
    fflush(stdout);
    wait_for_the_word();
    started = uv_hrtime();
}

static void got_answer(struct wire *wire) {
    if (wire->length != frame_size) {
        fprintf(stderr, "libuv: an answer of wrong length\n");
        exit(1);
    }
    done++;
    if (done <= warmup)
        check(wire);
    if (done == warmup)
        start_clock();
    if (done == warmup + frames) {
        double seconds = (double)(uv_hrtime() - started) / 1e9;
        check(wire);
        printf("{\"seconds\": %.9f, \"frames\": %ld, \"bytes\": %zu}\n", seconds, frames,
               (size_t)frames * frame_size);
        fflush(stdout);
        wait_for_the_word();
        exit(0);
    }
    answer_awaited = 0;
    if (!sending)
        send_next(wire);
}

static void connected(uv_connect_t *connect, int error) {
    struct wire *wire = connect->handle->data;
    must("connecting", error);
    must("reading", uv_read_start(&wire->handle.stream, allocate, arrived));
    if (warmup == 0)
        start_clock();
    send_next(wire);
}

static void bulk(const char *address) {
    static struct wire wire;
    static uv_connect_t connect;
    int unix_socket = strncmp(address, "unix:", 5) == 0;
    uint64_t state = 0x9e3779b97f4a7c15u;
    is_client = 1;
    frame = malloc(frame_size + 1);
    if (frame == NULL)
        fail("a frame", UV_ENOMEM);
    for (size_t i = 0; i < frame_size; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        frame[i] = (unsigned char)state;
    }
    open_handle(&wire, unix_socket);
    wire.received = got_answer;
    if (unix_socket) {
        uv_pipe_connect(&connect, &wire.handle.pipe, address + 5, connected);
    } else {
        struct sockaddr_in name = parse(address);
        must("no delay", uv_tcp_nodelay(&wire.handle.tcp, 1));
        must(address, uv_tcp_connect(&connect, &wire.handle.tcp, (struct sockaddr *)&name,
                                     connected));
    }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}

int main(int count, char **arguments) {
    struct rlimit limit;
    const char *address = "";
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    /* libuv leaves this to the program. */
    signal(SIGPIPE, SIG_IGN);
    for (int i = 2; i + 1 < count; i += 2) {
        const char *name = arguments[i], *value = arguments[i + 1];
        if (strcmp(name, "--listen") == 0 || strcmp(name, "--connect") == 0)
            address = value;
        else if (strcmp(name, "--prefix") == 0)
            little = strcmp(value, "u64le") == 0;
        else if (strcmp(name, "--size") == 0)
            frame_size = strtoul(value, NULL, 10);
        else if (strcmp(name, "--frames") == 0)
            frames = strtol(value, NULL, 10);
        else if (strcmp(name, "--warmup") == 0)
            warmup = strtol(value, NULL, 10);
    }
    if (count > 1 && strcmp(arguments[1], "serve") == 0)
        serve(address);
    else if (count > 1 && strcmp(arguments[1], "bulk") == 0)
        bulk(address);
    else
        fprintf(stderr, "libuv: expected serve or bulk\n");
    return 1;
}
