//! The handshake: the client asks for options until it goes on to its requests.

use std::io::{self, ErrorKind};

use readinto::{Stream, StreamError};

use crate::protocol::*;

/// Agrees with the client on what is exported, and tells whether requests follow.
pub(crate) async fn agree(stream: &mut Stream, size: u64) -> io::Result<bool> {
    let ours = FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES;
    let (magic, option_magic) = (NBD_MAGIC.to_be_bytes(), OPTION_MAGIC.to_be_bytes());
    stream
        .write_all(&[&magic[..], &option_magic, &ours.to_be_bytes()])
        .await?;
    let mut flags = [0; 4];
    stream.read_exact_into(&mut flags).await?;
    let flags = u32::from_be_bytes(flags);
    if flags & !u32::from(ours) != 0 {
        return Err(violation(format!("unknown client flags {flags:#x}")));
    }

    let mut data = Vec::new();
    loop {
        let option = read_option(stream, &mut data).await?;
        let mut answer = Answer { stream, option };
        match option {
            OPT_GO | OPT_INFO => match export_name(&data) {
                None => answer.send(REP_ERR_INVALID, &[]).await?,
                Some(name) if !name.is_empty() => answer.send(REP_ERR_UNKNOWN, &[]).await?,
                Some(_) => {
                    answer.send(REP_INFO, &export_info(size)).await?;
                    answer.send(REP_INFO, &block_size_info()).await?;
                    answer.send(REP_ACK, &[]).await?;
                    if option == OPT_GO {
                        return Ok(true);
                    }
                }
            },
            OPT_EXPORT_NAME if data.is_empty() => {
                let zeroes: &[u8] = match flags & u32::from(FLAG_NO_ZEROES) {
                    0 => &[0; 124],
                    _ => &[],
                };
                let info = export_info(size);
                stream.write_all(&[&info[2..], zeroes]).await?;
                return Ok(true);
            }
            // It has no way to say no.
            OPT_EXPORT_NAME => return Err(violation("there is no export of that name")),
            OPT_LIST if data.is_empty() => {
                let no_name = 0_u32.to_be_bytes();
                answer.send(REP_SERVER, &no_name).await?;
                answer.send(REP_ACK, &[]).await?;
            }
            OPT_LIST => answer.send(REP_ERR_INVALID, &[]).await?,
            OPT_ABORT => {
                answer.send(REP_ACK, &[]).await?;
                return Ok(false);
            }
            _ => answer.send(REP_ERR_UNSUP, &[]).await?,
        }
    }
}

/// Reads an option, and puts its data in the place of the last one's.
async fn read_option(stream: &mut Stream, data: &mut Vec<u8>) -> io::Result<u32> {
    let mut header = [0; 16];
    stream.read_exact_into(&mut header).await?;
    let [magic, word] = [&header[..8], &header[8..]]
        .map(|half| u64::from_be_bytes(half.try_into().expect("a half has 8 bytes")));
    if magic != OPTION_MAGIC {
        return Err(violation("this is not an option"));
    }
    let (option, len) = ((word >> 32) as u32, word as u32);
    if len > MAX_OPTION {
        return Err(violation(format!("{len} bytes of data for an option")));
    }
    data.resize(len as usize, 0);
    stream.read_exact_into(data).await?;
    Ok(option)
}

/// Who answers an option, perhaps several times.
struct Answer<'a> {
    stream: &'a mut Stream,
    option: u32,
}

impl Answer<'_> {
    async fn send(&mut self, kind: u32, data: &[u8]) -> Result<(), StreamError> {
        let len = data.len() as u32;
        let words = [self.option, kind, len].map(u32::to_be_bytes);
        let magic = OPTION_REPLY_MAGIC.to_be_bytes();
        let header = words.as_flattened();
        self.stream.write_all(&[&magic[..], header, data]).await
    }
}

/// The name in the data of a `GO` or an `INFO`, if those make sense. A list of
/// what the client wants to know follows; it gets all there is.
fn export_name(mut data: &[u8]) -> Option<&[u8]> {
    let len = u32::from_be_bytes(take(&mut data)?);
    let (name, mut data) = data.split_at_checked(len as usize)?;
    let wishes = u16::from_be_bytes(take(&mut data)?);
    (data.len() == 2 * usize::from(wishes)).then_some(name)
}

fn export_info(size: u64) -> [u8; 12] {
    let mut info = [0; 12];
    info[..2].copy_from_slice(&INFO_EXPORT.to_be_bytes());
    info[2..10].copy_from_slice(&size.to_be_bytes());
    info[10..].copy_from_slice(&TRANSMISSION_FLAGS.to_be_bytes());
    info
}

fn block_size_info() -> [u8; 14] {
    let (least, preferred) = (1, 4096);
    let mut info = [0; 14];
    info[..2].copy_from_slice(&INFO_BLOCK_SIZE.to_be_bytes());
    let sizes = [least, preferred, MAX_PAYLOAD].map(u32::to_be_bytes);
    info[2..].copy_from_slice(sizes.as_flattened());
    info
}

/// Connections share the disk without a cache in between, so a client may well
/// have several.
const TRANSMISSION_FLAGS: u16 =
    HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES | CAN_MULTI_CONN;

/// More than any option needs: a name has 4096 bytes at most.
const MAX_OPTION: u32 = 16 * 1024;

pub(crate) fn violation(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
