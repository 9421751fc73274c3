/* The row in C: libuv, which is under uvloop. Small frames arrive in one block for all
 * connections, long ones in their connection's own memory; those that came together
 * leave in one uv_try_write. Reading stops only for what that could not take. */

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

/* How long the frame is that begins here, prefix included, as far as that is known; more
 * than the largest if it is too large. */
static size_t needed(const unsigned char *bytes, size_t count) {
    if (count < prefix_size())
        return prefix_size();
    uint64_t length = decode(bytes);
    return prefix_size() + (size_t)(length > MAX_FRAME ? MAX_FRAME + 1 : length);
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
    /* What has arrived and is still needed. */
    unsigned char *bytes;
    size_t room, filled;
    /* How long the frame is that begins there, as far as that is known. */
    size_t needed;
    /* How many of the bytes are an answer that the kernel has not taken whole. */
    size_t answer;
};

static void open_handle(struct wire *wire, int unix_socket) {
    if (unix_socket)
        must("a pipe", uv_pipe_init(uv_default_loop(), &wire->handle.pipe, 0));
    else
        must("a socket", uv_tcp_init(uv_default_loop(), &wire->handle.tcp));
    wire->handle.stream.data = wire;
}

static void make_room(struct wire *wire, size_t room) {
    if (wire->room >= room)
        return;
    wire->bytes = realloc(wire->bytes, room);
    if (wire->bytes == NULL)
        fail("a frame", UV_ENOMEM);
    wire->room = room;
}

/* Sends at once what the kernel takes. Returns how many bytes that is, or an error. */
static ssize_t send_some(struct wire *wire, unsigned char *bytes, size_t count) {
    uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)count);
    int sent = uv_try_write(&wire->handle.stream, &buffer, 1);
    return sent == UV_EAGAIN ? 0 : sent;
}

/* Sends the rest once the kernel takes it. */
static int send_rest(struct wire *wire, unsigned char *bytes, size_t count, uv_write_cb done) {
    uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)count);
    return uv_write(&wire->write, &wire->handle.stream, &buffer, 1, done);
}

/* The server. */

/* Where bytes arrive for all that hold none and had no long frame: nothing stays here
 * between two callbacks. It is as long as libuv suggests. */
static unsigned char block[64 * 1024];

static void closed(uv_handle_t *handle) {
    struct wire *wire = handle->data;
    free(wire->bytes);
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
    if (wire->filled == 0 && wire->room <= sizeof block) {
        *buffer = uv_buf_init((char *)block, sizeof block);
        return;
    }
    make_room(wire, wire->needed > sizeof block ? wire->needed : sizeof block);
    *buffer = uv_buf_init((char *)wire->bytes + wire->filled,
                          (unsigned)(wire->room - wire->filled));
}

/* How many of these bytes are whole frames. */
static size_t complete(struct wire *wire, const unsigned char *bytes, size_t count) {
    size_t end = 0;
    for (;;) {
        wire->needed = needed(bytes + end, count - end);
        if (count - end < wire->needed)
            return end;
        end += wire->needed;
    }
}

static void drop_answer(struct wire *wire) {
    if (wire->answer == 0)
        return;
    wire->filled -= wire->answer;
    memmove(wire->bytes, wire->bytes + wire->answer, wire->filled);
    wire->answer = 0;
}

static void arrived(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer);

static void answered(uv_write_t *write, int error) {
    struct wire *wire = write->handle->data;
    drop_answer(wire);
    if (error == 0)
        error = uv_read_start(&wire->handle.stream, allocate, arrived);
    if (error < 0)
        hang_up(wire);
}

static void arrived(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    struct wire *wire = stream->data;
    if (count == 0)
        return;
    if (count < 0) {
        hang_up(wire);
        return;
    }
    unsigned char *bytes = buffer->base == (char *)block ? block : wire->bytes;
    size_t filled = wire->filled + (size_t)count;
    size_t whole = complete(wire, bytes, filled);
    ssize_t sent = whole == 0 ? 0 : send_some(wire, bytes, whole);
    if (sent < 0 || wire->needed > prefix_size() + MAX_FRAME) {
        hang_up(wire);
        return;
    }
    wire->filled = filled;
    wire->answer = whole;
    if (bytes == block) {
        /* What is neither sent nor whole stays with the connection. */
        wire->filled -= (size_t)sent;
        wire->answer -= (size_t)sent;
        if (wire->filled != 0) {
            make_room(wire, sizeof block);
            memcpy(wire->bytes, block + sent, wire->filled);
        }
        sent = 0;
    }
    if ((size_t)sent == wire->answer) {
        drop_answer(wire);
        return;
    }
    /* What arrives next would stand behind an answer of whatever length. */
    uv_read_stop(stream);
    if (send_rest(wire, wire->bytes + sent, wire->answer - (size_t)sent, answered) < 0)
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

/* With their prefix, as long as an answer is. Sent in turn: no byte of one payload is the
 * same in the other. */
static unsigned char *turns[2];
static size_t frame_size, payload_size;
static long frames, warmup, done;
static uint64_t started;

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
    answer_awaited = 1;
    unsigned char *frame = turns[done % 2];
    ssize_t gone = send_some(wire, frame, frame_size);
    must("sending", (int)gone);
    if ((size_t)gone < frame_size) {
        sending = 1;
        must("sending", send_rest(wire, frame + gone, frame_size - (size_t)gone, sent));
    }
}

static void check(const struct wire *wire, const unsigned char *frame) {
    if (memcmp(wire->bytes, frame, frame_size) != 0) {
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
    const unsigned char *frame = turns[done % 2];
    done++;
    if (done <= warmup)
        check(wire, frame);
    if (done == warmup)
        start_clock();
    if (done == warmup + frames) {
        double seconds = (double)(uv_hrtime() - started) / 1e9;
        check(wire, frame);
        printf("{\"seconds\": %.9f, \"frames\": %ld, \"bytes\": %zu}\n", seconds, frames,
               (size_t)frames * payload_size);
        fflush(stdout);
        wait_for_the_word();
        exit(0);
    }
    answer_awaited = 0;
    if (!sending)
        send_next(wire);
}

static void allocate_answer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct wire *wire = handle->data;
    (void)suggested;
    *buffer = uv_buf_init((char *)wire->bytes + wire->filled,
                          (unsigned)(frame_size - wire->filled));
}

static void answer_arrived(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    struct wire *wire = stream->data;
    (void)buffer;
    must("the connection", (int)count);
    wire->filled += (size_t)count;
    if (wire->filled >= prefix_size() && needed(wire->bytes, wire->filled) != frame_size) {
        fprintf(stderr, "libuv: an answer of wrong length\n");
        exit(1);
    }
    if (wire->filled == frame_size) {
        wire->filled = 0;
        got_answer(wire);
    }
}

static void connected(uv_connect_t *connect, int error) {
    struct wire *wire = connect->handle->data;
    must("connecting", error);
    must("reading", uv_read_start(&wire->handle.stream, allocate_answer, answer_arrived));
    if (warmup == 0)
        start_clock();
    send_next(wire);
}

static void bulk(const char *address) {
    static struct wire wire;
    static uv_connect_t connect;
    int unix_socket = strncmp(address, "unix:", 5) == 0;
    uint64_t state = 0x9e3779b97f4a7c15u;
    frame_size = prefix_size() + payload_size;
    for (int i = 0; i < 2; i++) {
        turns[i] = malloc(frame_size);
        if (turns[i] == NULL)
            fail("a frame", UV_ENOMEM);
        encode(turns[i], payload_size);
    }
    make_room(&wire, frame_size);
    for (size_t i = prefix_size(); i < frame_size; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        turns[0][i] = (unsigned char)state;
        turns[1][i] = (unsigned char)~turns[0][i];
    }
    open_handle(&wire, unix_socket);
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
            payload_size = strtoul(value, NULL, 10);
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
