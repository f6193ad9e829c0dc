//! Compressed bodies: gzip, bounded in what comes out of it.

use flate2::bufread::MultiGzDecoder;
use sluice_model::problem::{Code, Problem};
use std::io::Read as _;

/// Bytes of the trailer that tell the length modulo 2^32.
const TRAILER_LENGTH_BYTES: usize = 4;

/// The length that a body claims to have when it is unpacked. A hint only: it may lie.
pub(super) fn claimed_length(packed: &[u8]) -> usize {
    let length = packed.last_chunk::<TRAILER_LENGTH_BYTES>();
    length.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
}

/// Unpacks a body of at most `max` bytes.
///
/// # Errors
/// When it is damaged or larger.
pub(super) fn unpack(packed: &[u8], max: usize) -> Result<Vec<u8>, Box<Problem>> {
    let mut unpacked = Vec::with_capacity(claimed_length(packed).min(max));
    let mut bounded = MultiGzDecoder::new(packed).take(max as u64 + 1);
    bounded.read_to_end(&mut unpacked).map_err(|error| {
        let detail = format!("the body is no gzip: {error}");
        Box::new(Problem::new(Code::MalformedRequest, detail))
    })?;
    if unpacked.len() > max {
        let detail = format!("an unpacked body has at most {max} bytes");
        return Err(Box::new(Problem::new(Code::TooLarge, detail)));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn bodies_are_unpacked_up_to_a_bound() {
        let zeros = vec![0; 100_000];
        let packed = pack(&zeros);
        assert_eq!(claimed_length(&packed), zeros.len());
        assert_eq!(unpack(&packed, 100_000).unwrap(), zeros);
        assert_eq!(unpack(&packed, 99_999).unwrap_err().status, 413);
        let two = [pack(b"a"), pack(b"b")].concat();
        assert_eq!(unpack(&two, 10).unwrap(), b"ab");
        assert_eq!(unpack(&packed[..50], 100_000).unwrap_err().status, 400);
        assert_eq!(unpack(b"", 10).unwrap_err().status, 400);
    }

    proptest! {
        /// Damaged bodies end in an error or in bytes within the bound.
        #[test]
        fn damaged_bodies_end(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut packed = pack(b"some text that is a little longer, some text");
            let at = at.index(packed.len());
            packed[at] = byte;
            if let Ok(unpacked) = unpack(&packed, 100) {
                prop_assert!(unpacked.len() <= 100);
            }
        }
    }
}
