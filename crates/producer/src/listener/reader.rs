//! Reading a stream so that an idle connection costs next to nothing: a buffer lives only while there
//! is data in it.

use bytes::BytesMut;
use std::future::poll_fn;
use std::io;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A read takes so many bytes at first and, as long as it is filled, up to the second number.
const READ_BYTES_FIRST: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 256 * 1024;
/// Room in a buffer that is worth another read.
const ROOM_MIN: usize = 2 * 1024;

/// A stream and the size of its next read.
#[derive(Debug)]
pub(super) struct Reader<R> {
    stream: R,
    next_read: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Over a stream.
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            next_read: READ_BYTES_FIRST,
        }
    }

    /// Appends what is there; 0 is the end of the stream. Nothing is lost when this is dropped.
    ///
    /// # Errors
    /// When the stream is broken.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let (stream, next_read) = (&mut self.stream, self.next_read);
        let mut room = 0;
        let read = poll_fn(|context| {
            if buffer.capacity() - buffer.len() < ROOM_MIN.max(next_read / 8) {
                buffer.reserve(next_read);
            }
            room = buffer.capacity() - buffer.len();
            let polled = pin!(stream.read_buf(buffer)).poll(context);
            if polled.is_pending() && buffer.is_empty() {
                *buffer = BytesMut::new();
            }
            polled
        });
        let count = read.await?;
        if count >= self.next_read {
            self.next_read = (self.next_read * 2).min(READ_BYTES_MAX);
        } else if count < room.min(self.next_read) / 8 {
            self.next_read = (self.next_read / 2).max(READ_BYTES_FIRST);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};
    use tokio::io::AsyncWriteExt as _;

    #[test]
    fn an_idle_stream_holds_no_buffer() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut near, far) = tokio::io::duplex(64);
            let mut reader = Reader::new(far);
            let mut buffer = BytesMut::new();
            {
                let read = pin!(reader.read(&mut buffer));
                let polled = read.poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(polled, Poll::Pending));
            }
            assert_eq!(buffer.capacity(), 0);
            near.write_all(b"part of a line").await.unwrap();
            assert_eq!(reader.read(&mut buffer).await.unwrap(), 14);
            near.shutdown().await.unwrap();
            assert_eq!(reader.read(&mut buffer).await.unwrap(), 0);
            assert_eq!(&buffer[..], b"part of a line");
        });
    }
}
