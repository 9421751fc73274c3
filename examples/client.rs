//! A client that asks questions: each has a deadline, and a connection that is lost, or
//! has become useless, is made anew. `cargo run --example client -- 127.0.0.1:7000`.

use std::error::Error;
use std::time::{Duration, Instant};

use readinto::{Address, FrameReader, FrameWriter, Handle, Prefix, Reactor, Stream};

/// How long one answer may take, all attempts together.
const DEADLINE: Duration = Duration::from_secs(2);

/// How long one attempt may take, unless less is left.
const PATIENCE: Duration = Duration::from_millis(500);

/// Between two attempts, so that a server that is down is not hammered.
const PAUSE: Duration = Duration::from_millis(200);

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let mut reactor = Reactor::new()?;
    let mut client = Client {
        handle: reactor.handle(),
        address: address.parse()?,
        connection: None,
    };
    reactor.block_on(async {
        for question in ["one", "two", "three"] {
            let answer = client.ask(question.as_bytes()).await?;
            println!("{question}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    })?
}

struct Client {
    handle: Handle,
    address: Address,
    /// None before the first question, and after a failure.
    connection: Option<(FrameReader, FrameWriter)>,
}

impl Client {
    /// Asks until there is an answer, or the deadline has passed.
    async fn ask(&mut self, question: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
        let end = Instant::now() + DEADLINE;
        loop {
            let handle = self.handle.clone();
            let patience = PATIENCE.min(end.saturating_duration_since(Instant::now()));
            let attempt = handle.timeout(patience, self.attempt(question)).await;
            let failure = match attempt {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(late) => late.into(),
            };
            // A late answer to this question must not be taken for one to the next.
            self.connection = None;
            if Instant::now() + PAUSE >= end {
                return Err(failure);
            }
            eprintln!("{failure}; trying again");
            handle.sleep(PAUSE).await;
        }
    }

    async fn attempt(&mut self, question: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
        let (answers, questions) = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let stream = Stream::connect(&self.handle, &self.address).await?;
                let (read, write) = stream.split();
                none.insert((
                    FrameReader::new(read, Prefix::U32Be, 1 << 20),
                    FrameWriter::new(write, Prefix::U32Be),
                ))
            }
        };
        questions.write(question).await?;
        let answer = answers.next().await?.ok_or("the server has hung up")?;
        Ok(answer.to_vec())
    }
}
