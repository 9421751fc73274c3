//! Who takes part: every row, what it is written in, and what it does.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One way to write an echo server and its client.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What a user would say that it runs on; several rows may share one.
    pub(crate) system: &'static str,
    pub(crate) language: Language,
    pub(crate) part: Part,
    /// Packages that its environment must have.
    pub(crate) needs: &'static [&'static str],
    pub(crate) skills: Skills,
    /// One line: how it moves the bytes.
    pub(crate) does: &'static str,
}

impl Row {
    /// Whether a user who writes this means this row, among others perhaps.
    pub(crate) fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.system == name
    }
}

/// What it is written in, hence how it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Language {
    Python,
    Rust,
    C,
    #[serde(rename = "C++")]
    Cpp,
    Go,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Language::Python => "Python",
            Language::Rust => "Rust",
            Language::C => "C",
            Language::Cpp => "C++",
            Language::Go => "Go",
        })
    }
}

/// What a row is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// What this is all about.
    Readinto,
    /// What a user could pick instead.
    Peer,
    /// No runtime at all: how far the machine can go.
    Limit,
}

/// Which verbs a row has, besides `bulk`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Skills {
    pub(crate) serve: bool,
    pub(crate) seed: bool,
}

/// The row that all others are held to.
pub(crate) const READINTO: &str = "readinto";

/// The row whose client drives every server where the client must not differ.
pub(crate) const NEUTRAL_CLIENT: &str = "mio-hand-written";

/// The row that copies memory and has no server.
pub(crate) const MEMCPY: &str = "memcpy";

/// The row with this name.
pub(crate) fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// Every row, in the order in which they take turns and are shown.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: READINTO,
        system: "readinto",
        language: Language::Rust,
        part: Part::Readinto,
        needs: &[],
        skills: SEED,
        does: "FrameReader into a reused buffer, FrameWriter; default options",
    },
    Row {
        name: "readinto-busy-poll",
        system: "readinto-busy-poll",
        language: Language::Rust,
        part: Part::Readinto,
        needs: &[],
        skills: SERVE,
        does: "the same, polling for up to 100 µs before it sleeps",
    },
    python(
        "asyncio-protocol",
        "asyncio",
        &[],
        "Protocol: data_received collects chunks, joined once the frame is whole",
    ),
    python(
        "asyncio-buffered",
        "asyncio",
        &[],
        "BufferedProtocol: the loop receives into a reused buffer",
    ),
    python(
        "asyncio-streams",
        "asyncio",
        &[],
        "StreamReader.readexactly, StreamWriter.write and drain",
    ),
    python(
        "uvloop-protocol",
        "uvloop",
        &["uvloop"],
        "as asyncio-protocol, on uvloop",
    ),
    python(
        "uvloop-buffered",
        "uvloop",
        &["uvloop"],
        "as asyncio-buffered, on uvloop",
    ),
    python(
        "uvloop-streams",
        "uvloop",
        &["uvloop"],
        "as asyncio-streams, on uvloop",
    ),
    python(
        "tornado-read-bytes",
        "tornado",
        &["tornado"],
        "IOStream.read_bytes: a fresh bytes object per frame",
    ),
    python(
        "tornado-read-into",
        "tornado",
        &["tornado"],
        "IOStream.read_into a reused buffer",
    ),
    python(
        "curio-readinto",
        "curio",
        &["curio"],
        "stream.readinto a reused buffer, sendmsg of header and payload",
    ),
    python(
        "trio-receive-some",
        "trio",
        &["trio"],
        "SocketStream.receive_some, collected in a bytearray",
    ),
    python(
        "trio-recv-into",
        "trio",
        &["trio"],
        "trio.socket recv_into a reused buffer, sendmsg of header and payload",
    ),
    python(
        "python-blocking",
        "python-blocking",
        &[],
        "socket.recv_into a reused buffer and sendall, a thread per connection",
    ),
    rust(
        "tokio-exact",
        "tokio",
        SEED,
        "current-thread; read_exact into a reused buffer, one vectored write",
    ),
    rust(
        "tokio-exact-tuned",
        "tokio-tuned",
        SERVE,
        "as tokio-exact, with readinto's receive buffer of 2 MiB and place of buffers",
    ),
    rust(
        "tokio-vec",
        "tokio",
        SERVE,
        "current-thread; read_exact into a fresh Vec per frame",
    ),
    rust(
        "tokio-codec-forward",
        "tokio",
        SERVE,
        "LengthDelimitedCodec, stream.forward(sink)",
    ),
    rust(
        "tokio-codec-loop",
        "tokio",
        SERVE,
        "LengthDelimitedCodec, a loop of next and send",
    ),
    rust(
        "smol",
        "smol",
        SEED,
        "a local executor; BufReader, past which long payloads go to a reused buffer",
    ),
    rust(
        "monoio",
        "monoio",
        SERVE,
        "io_uring; BufReader, past which long frames go to a buffer that is lent and returned",
    ),
    rust(
        "compio",
        "compio",
        SERVE,
        "io_uring; append to and write_all from one buffer that is lent and returned",
    ),
    Row {
        name: "libuv",
        system: "libuv",
        language: Language::C,
        part: Part::Peer,
        needs: &[],
        skills: SERVE,
        does: "the alloc callback lends a shared block, or a long frame's buffer; one uv_try_write",
    },
    Row {
        name: "asio",
        system: "asio",
        language: Language::Cpp,
        part: Part::Peer,
        needs: &[],
        skills: SERVE,
        does: "standalone Asio; async_read_some into a reused buffer, async_write of whole frames",
    },
    Row {
        name: "asio-whole",
        system: "asio",
        language: Language::Cpp,
        part: Part::Peer,
        needs: &[],
        skills: SERVE,
        does: "as asio, with all that is left to each call, not 64 KiB",
    },
    Row {
        name: "go",
        system: "go",
        language: Language::Go,
        part: Part::Peer,
        needs: &[],
        skills: SERVE,
        does: "net; bufio.Reader, past which long payloads go to a reused buffer; net.Buffers",
    },
    limit(
        "mio-hand-written",
        "by-hand",
        SERVE,
        "a loop on mio, default sockets, the whole slice per system call",
    ),
    limit(
        "mio-hand-written-tuned",
        "by-hand-tuned",
        SERVE,
        "as mio-hand-written, with readinto's socket options, chunks and place of buffers",
    ),
    limit(
        "mio-hand-written-spinning",
        "by-hand-spinning",
        SERVE,
        "as mio-hand-written-tuned, and it never sleeps",
    ),
    limit(
        "std-blocking",
        "by-hand",
        SERVE,
        "std::net, read_exact and write_all, a thread per connection",
    ),
    limit(
        "std-blocking-tuned",
        "by-hand-tuned",
        SERVE,
        "as std-blocking, with readinto's socket options and place of buffers",
    ),
    limit(
        MEMCPY,
        "memcpy",
        ALONE,
        "copies the frame in memory, there and back; no sockets",
    ),
];

const fn python(
    name: &'static str,
    system: &'static str,
    needs: &'static [&'static str],
    does: &'static str,
) -> Row {
    Row {
        name,
        system,
        language: Language::Python,
        part: Part::Peer,
        needs,
        skills: SEED,
        does,
    }
}

const fn rust(name: &'static str, system: &'static str, skills: Skills, does: &'static str) -> Row {
    Row {
        name,
        system,
        language: Language::Rust,
        part: Part::Peer,
        needs: &[],
        skills,
        does,
    }
}

const fn limit(
    name: &'static str,
    system: &'static str,
    skills: Skills,
    does: &'static str,
) -> Row {
    Row {
        part: Part::Limit,
        ..rust(name, system, skills, does)
    }
}

const SEED: Skills = Skills {
    serve: true,
    seed: true,
};
const SERVE: Skills = Skills {
    serve: true,
    seed: false,
};
const ALONE: Skills = Skills {
    serve: false,
    seed: false,
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_peer_in_rust_has_a_row_and_every_row_in_rust_a_peer() {
        let rows: BTreeSet<_> = ROWS
            .iter()
            .filter(|row| row.language == Language::Rust)
            .map(|row| row.name)
            .collect();
        let peers: BTreeSet<_> = crate::peer::NAMES.iter().copied().collect();
        assert_eq!(rows, peers);
    }

    #[test]
    fn names_are_unique_and_the_special_rows_exist() {
        let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
        for name in [READINTO, NEUTRAL_CLIENT, MEMCPY] {
            assert!(names.contains(name), "{name}");
        }
    }
}
