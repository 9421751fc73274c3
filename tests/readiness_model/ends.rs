//! Our end of a connection, as a stream or as its halves: lent to an operation, and
//! home again when that ends or is dropped.

use std::cell::Cell;
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use readinto::{ReadExactInto, ReadHalf, Stream, WriteAll, WriteHalf};

pub(crate) struct Ends {
    whole: Home<Stream>,
    read_half: Home<ReadHalf>,
    write_half: Home<WriteHalf>,
}

impl Ends {
    pub(crate) fn new(stream: Stream) -> Ends {
        Ends {
            whole: Rc::new(Cell::new(Some(stream))),
            read_half: Home::default(),
            write_half: Home::default(),
        }
    }

    /// Splits the stream, if nobody uses it.
    pub(crate) fn split(&self) {
        if let Some(whole) = self.whole.take() {
            let (read, write) = whole.split();
            self.read_half.set(Some(read));
            self.write_half.set(Some(write));
        }
    }

    /// What can read, unless it is lent.
    pub(crate) fn reader(&self) -> Option<Reader> {
        let whole = Lent::take(&self.whole).map(Reader::Whole);
        whole.or_else(|| Lent::take(&self.read_half).map(Reader::Half))
    }

    /// What can write, unless it is lent.
    pub(crate) fn writer(&self) -> Option<Writer> {
        let whole = Lent::take(&self.whole).map(Writer::Whole);
        whole.or_else(|| Lent::take(&self.write_half).map(Writer::Half))
    }
}

pub(crate) enum Reader {
    Whole(Lent<Stream>),
    Half(Lent<ReadHalf>),
}

impl Reader {
    pub(crate) fn read_exact_into<'a>(&'a mut self, buf: &'a mut [u8]) -> ReadExactInto<'a> {
        match self {
            Reader::Whole(stream) => stream.read_exact_into(buf),
            Reader::Half(half) => half.read_exact_into(buf),
        }
    }
}

pub(crate) enum Writer {
    Whole(Lent<Stream>),
    Half(Lent<WriteHalf>),
}

impl Writer {
    pub(crate) fn write_all<'a>(&'a mut self, data: &'a [u8]) -> WriteAll<'a> {
        match self {
            Writer::Whole(stream) => stream.write_all(data),
            Writer::Half(half) => half.write_all(data),
        }
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Writer::Whole(stream) => stream.shutdown_write(),
            Writer::Half(half) => half.shutdown_write(),
        }
    }
}

/// Where something is while nobody uses it.
type Home<T> = Rc<Cell<Option<T>>>;

/// Goes home when it is dropped.
pub(crate) struct Lent<T> {
    lent: Option<T>,
    home: Home<T>,
}

impl<T> Lent<T> {
    fn take(home: &Home<T>) -> Option<Lent<T>> {
        home.take().map(|lent| Lent {
            lent: Some(lent),
            home: home.clone(),
        })
    }
}

impl<T> Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.lent.as_ref().expect("only the drop takes it")
    }
}

impl<T> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.lent.as_mut().expect("only the drop takes it")
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        self.home.set(self.lent.take());
    }
}
