// The row in C++: standalone Asio, one thread without locks, callbacks;
// async_read_some into a reused buffer, and one async_write for all frames in it
// that are whole.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <asio.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <limits>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr std::uint64_t max_frame = 256u << 20;

// What is read ahead: more than the small frames of a burst.
constexpr std::size_t ahead = 16 << 10;

// The length before each frame.
struct Prefix {
    bool little;
    std::size_t size() const { return little ? 8 : 4; }

    void encode(unsigned char *header, std::uint64_t length) const {
        for (std::size_t i = 0; i < size(); ++i)
            header[little ? i : size() - 1 - i] = length >> (8 * i);
    }

    std::uint64_t decode(const unsigned char *header) const {
        std::uint64_t length = 0;
        for (std::size_t i = 0; i < size(); ++i)
            length |= std::uint64_t{header[little ? i : size() - 1 - i]} << (8 * i);
        return length;
    }

    // How long the frame is that begins here, prefix included, as far as that is
    // known; more than the largest if it is too large.
    std::size_t needed(const unsigned char *bytes, std::size_t count) const {
        return count < size() ? size() : size() + std::min(decode(bytes), max_frame + 1);
    }
};

// A completion condition: how much the next call may move. The library's own has no
// more than 64 KiB moved by one; with WHOLE it is all that is left.
#ifdef WHOLE
std::size_t next_call(const std::error_code &error, std::size_t) {
    return error ? 0 : std::numeric_limits<std::size_t>::max();
}
#else
const auto next_call = asio::transfer_all();
#endif

struct Buffer {
    std::unique_ptr<unsigned char[]> bytes;
    std::size_t room = 0;

    // Keeps the first `filled` bytes.
    void make_room(std::size_t length, std::size_t filled = 0) {
        if (room >= length)
            return;
        std::unique_ptr<unsigned char[]> larger(new unsigned char[length]);
        if (filled > 0)
            std::memcpy(larger.get(), bytes.get(), filled);
        bytes = std::move(larger);
        room = length;
    }
};

// A connection of the server: what has arrived stands in one buffer, which grows
// with the frames. Those that are whole leave in one call.
template <typename Socket> struct Echo : std::enable_shared_from_this<Echo<Socket>> {
    Socket socket;
    Prefix prefix;
    Buffer arrived;
    std::size_t filled = 0;
    // How long the frame is that begins the buffer, as far as that is known.
    std::size_t needed = 0;

    Echo(Socket socket, Prefix prefix) : socket(std::move(socket)), prefix(prefix) {}

    void read() {
        arrived.make_room(std::max(needed, ahead), filled);
        auto self = this->shared_from_this();
        socket.async_read_some(asio::buffer(arrived.bytes.get() + filled, arrived.room - filled),
                               [self](std::error_code error, std::size_t count) {
                                   if (error)
                                       return;
                                   self->filled += count;
                                   self->answer();
                               });
    }

    void answer() {
        std::size_t whole = 0;
        for (;;) {
            needed = prefix.needed(arrived.bytes.get() + whole, filled - whole);
            if (filled - whole < needed)
                break;
            whole += needed;
        }
        if (needed > prefix.size() + max_frame)
            return;
        if (whole == 0)
            return read();
        auto self = this->shared_from_this();
        asio::async_write(socket, asio::buffer(arrived.bytes.get(), whole), next_call,
                          [self, whole](std::error_code error, std::size_t) {
                              if (error)
                                  return;
                              self->drop(whole);
                              self->read();
                          });
    }

    void drop(std::size_t whole) {
        filled -= whole;
        std::memmove(arrived.bytes.get(), arrived.bytes.get() + whole, filled);
    }
};

template <typename Socket> void without_delay(Socket &socket) {
    if constexpr (std::is_same_v<Socket, asio::ip::tcp::socket>)
        socket.set_option(asio::ip::tcp::no_delay(true));
}

template <typename Acceptor> void accept_all(Acceptor &acceptor, Prefix prefix) {
    acceptor.async_accept([&acceptor, prefix](std::error_code error, auto socket) {
        if (!error) {
            using Socket = decltype(socket);
            try {
                without_delay(socket);
                std::make_shared<Echo<Socket>>(std::move(socket), prefix)->read();
            } catch (const std::system_error &gone) {
                std::cerr << "a connection ended: " << gone.what() << '\n';
            }
        }
        accept_all(acceptor, prefix);
    });
}

bool is_unix(const std::string &address) { return address.rfind("unix:", 0) == 0; }

asio::ip::tcp::endpoint tcp_endpoint(const std::string &address) {
    auto colon = address.rfind(':');
    return {asio::ip::make_address(address.substr(0, colon)),
            static_cast<unsigned short>(std::stoi(address.substr(colon + 1)))};
}

void serve(const std::string &listen, Prefix prefix) {
    asio::io_context context(ASIO_CONCURRENCY_HINT_UNSAFE);
    if (is_unix(listen)) {
        std::string path = listen.substr(5);
        unlink(path.c_str());
        asio::local::stream_protocol::acceptor acceptor(context, {path});
        std::cout << "listening on " << listen << std::endl;
        accept_all(acceptor, prefix);
        context.run();
    } else {
        asio::ip::tcp::acceptor acceptor(context, tcp_endpoint(listen));
        acceptor.listen(asio::socket_base::max_listen_connections);
        std::cout << "listening on " << acceptor.local_endpoint() << std::endl;
        accept_all(acceptor, prefix);
        context.run();
    }
}

// The client: its calls are asynchronous as well, one at a time.
template <typename Socket> struct Client {
    asio::io_context &context;
    Socket socket;
    Prefix prefix;
    std::array<unsigned char, 8> header{};
    Buffer answer{};

    template <typename Start> void complete(Start start) {
        std::error_code result;
        start([&result](std::error_code error, std::size_t) { result = error; });
        context.restart();
        context.run();
        if (result)
            throw std::system_error(result);
    }

    std::size_t exchange(const std::vector<unsigned char> &payload) {
        prefix.encode(header.data(), payload.size());
        std::array<asio::const_buffer, 2> both = {asio::buffer(header.data(), prefix.size()),
                                                  asio::buffer(payload)};
        complete([&](auto done) { asio::async_write(socket, both, next_call, done); });
        complete([&](auto done) {
            asio::async_read(socket, asio::buffer(header.data(), prefix.size()),
                             next_call, done);
        });
        std::uint64_t length = prefix.decode(header.data());
        if (length > max_frame)
            throw std::runtime_error("an answer of absurd length");
        answer.make_room(length);
        complete([&](auto done) {
            asio::async_read(socket, asio::buffer(answer.bytes.get(), length),
                             next_call, done);
        });
        return length;
    }

    void check(std::size_t length, const std::vector<unsigned char> &payload) const {
        if (length != payload.size() ||
            (length != 0 && std::memcmp(answer.bytes.get(), payload.data(), length) != 0))
            throw std::runtime_error("an answer of wrong bytes");
    }

    void run(std::size_t size, long frames, long warmup) {
        // Sent in turn. No byte of one is the same in the other.
        std::array<std::vector<unsigned char>, 2> payloads;
        payloads.fill(std::vector<unsigned char>(size));
        std::mt19937_64 random(1);
        for (std::size_t i = 0; i < size; ++i) {
            payloads[0][i] = random();
            payloads[1][i] = ~payloads[0][i];
        }
        int turn = 0;
        for (long i = 0; i < warmup; ++i) {
            turn = 1 - turn;
            check(exchange(payloads[turn]), payloads[turn]);
        }
        std::string word;
        std::cout << "ready" << std::endl;
        std::getline(std::cin, word);
        std::size_t length = size;
        auto start = std::chrono::steady_clock::now();
        for (long i = 0; i < frames; ++i) {
            turn = 1 - turn;
            length = exchange(payloads[turn]);
            if (length != size)
                throw std::runtime_error("an answer of wrong length");
        }
        std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        if (frames > 0)
            check(length, payloads[turn]);
        std::printf("{\"seconds\": %.9f, \"frames\": %ld, \"bytes\": %zu}\n", took.count(), frames,
                    frames * size);
        std::fflush(stdout);
        std::getline(std::cin, word);
    }
};

void bulk(const std::string &connect, Prefix prefix, std::size_t size, long frames, long warmup) {
    asio::io_context context(ASIO_CONCURRENCY_HINT_UNSAFE);
    if (is_unix(connect)) {
        asio::local::stream_protocol::socket socket(context);
        socket.connect({connect.substr(5)});
        Client<decltype(socket)>{context, std::move(socket), prefix}.run(size, frames, warmup);
    } else {
        asio::ip::tcp::socket socket(context);
        socket.connect(tcp_endpoint(connect));
        without_delay(socket);
        Client<decltype(socket)>{context, std::move(socket), prefix}.run(size, frames, warmup);
    }
}

} // namespace

int main(int count, char **arguments) {
    rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    try {
        std::string verb = count > 1 ? arguments[1] : "";
        std::string address, prefix = "u32be";
        long size = 0, frames = 1, warmup = 1;
        for (int i = 2; i + 1 < count; i += 2) {
            std::string name = arguments[i], value = arguments[i + 1];
            if (name == "--listen" || name == "--connect")
                address = value;
            else if (name == "--prefix")
                prefix = value;
            else if (name == "--size")
                size = std::stol(value);
            else if (name == "--frames")
                frames = std::stol(value);
            else if (name == "--warmup")
                warmup = std::stol(value);
        }
        Prefix chosen{prefix == "u64le"};
        if (verb == "serve")
            serve(address, chosen);
        else if (verb == "bulk")
            bulk(address, chosen, size, frames, warmup);
        else
            throw std::runtime_error("expected serve or bulk");
    } catch (const std::exception &error) {
        std::cerr << "asio: " << error.what() << '\n';
        return 1;
    }
}
