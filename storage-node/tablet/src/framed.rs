//! The frame of what stands beside segments: a version byte first, the CRC32C of all before it last. Little endian.

/// Begins a frame.
pub(crate) fn begin(format: u8) -> Vec<u8> {
    vec![format]
}

/// Ends a frame.
pub(crate) fn end(mut frame: Vec<u8>) -> Vec<u8> {
    frame.extend_from_slice(&crc32c::crc32c(&frame).to_le_bytes());
    frame
}

/// What a frame holds and has not been read yet. Errors tell what is wrong with it.
pub(crate) struct Content<'a>(&'a [u8]);

impl<'a> Content<'a> {
    /// Of a frame that is whole and has this format.
    pub(crate) fn of(frame: &'a [u8], format: u8) -> Result<Self, String> {
        let (body, sum) = frame.split_last_chunk::<4>().ok_or("it is too short")?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
            return Err("its checksum does not match".to_owned());
        }
        match body.split_first().ok_or("it is too short")? {
            (version, rest) if *version == format => Ok(Self(rest)),
            (version, _) => Err(format!("it has format version {version}, this build reads {format}")),
        }
    }

    /// The next bytes, as many as the type says.
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or("it is cut short")?;
        self.0 = tail;
        Ok(*head)
    }

    /// The next `length` bytes.
    pub(crate) fn slice(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (head, tail) = self.0.split_at_checked(length).ok_or("it is cut short")?;
        self.0 = tail;
        Ok(head)
    }

    /// Makes sure that all is read.
    pub(crate) fn end(self) -> Result<(), String> {
        match self.0.len() {
            0 => Ok(()),
            more => Err(format!("it has {more} bytes behind its end")),
        }
    }
}
