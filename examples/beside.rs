//! A reactor on a thread of its own, beside a program that knows nothing of async: it
//! asks by a channel, and is answered by another. `cargo run --example beside`.

use std::error::Error;
use std::thread;

use readinto::channel::{self, TaskReceiver, TaskSender};
use readinto::{FrameReader, FrameWriter, Handle, Listener, Prefix, Reactor, Stream};

fn main() -> Result<(), Box<dyn Error>> {
    let (questions, asked) = channel::to_task::<String>(16);
    let (answers, answered) = channel::from_task::<String>(16);
    let network = thread::spawn(move || -> Result<(), String> {
        let mut reactor = Reactor::new().map_err(|error| error.to_string())?;
        let handle = reactor.handle();
        reactor
            .block_on(ask_all(handle, asked, answers))
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    });

    for question in ["one", "two", "three"] {
        // If the thread has failed, it tells why in the end.
        if questions.send(question.to_owned()).is_err() {
            break;
        }
        let Some(answer) = answered.recv() else { break };
        println!("{question}: {answer}");
    }
    // The end of the questions is the end of the thread.
    drop(questions);
    network.join().expect("it does not panic")?;
    Ok(())
}

/// Sends each question over the network, to a server that is here for the example.
async fn ask_all(
    handle: Handle,
    mut asked: TaskReceiver<String>,
    answers: TaskSender<String>,
) -> Result<(), Box<dyn Error>> {
    let listener = Listener::bind(&handle, &"127.0.0.1:0".parse()?)?;
    let (read, write) = Stream::connect(&handle, &listener.local_address())
        .await?
        .split();
    handle.spawn(shout_back(listener.accept().await?));
    let mut replies = FrameReader::new(read, Prefix::U32Be, 1 << 20);
    let mut requests = FrameWriter::new(write, Prefix::U32Be);
    while let Some(question) = asked.recv().await {
        requests.write(question.as_bytes()).await?;
        let reply = replies.next().await?.ok_or("the server has hung up")?;
        answers
            .send(String::from_utf8_lossy(reply).into_owned())
            .await?;
    }
    Ok(())
}

async fn shout_back(stream: Stream) -> std::io::Result<()> {
    let (read, write) = stream.split();
    let mut questions = FrameReader::new(read, Prefix::U32Be, 1 << 20);
    let mut answers = FrameWriter::new(write, Prefix::U32Be);
    while let Some(question) = questions.next().await? {
        answers.write(&question.to_ascii_uppercase()).await?;
    }
    Ok(())
}
