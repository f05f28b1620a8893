//! The value of a Block option (RFC 7959 §2.2): which part of a body, and whether more follows.

/// One block's place in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// NUM: how many blocks of this size come before.
    pub number: u32,
    /// M: whether more blocks follow.
    pub has_more: bool,
    /// SZX: the size is two to the power of this and four; 7 stands for several blocks of 1,024 bytes (BERT).
    pub size_exponent: u8,
}

/// SZX of the largest single block.
pub const SIZE_EXPONENT_MAX: u8 = 6;

/// SZX of several blocks of 1,024 bytes in one message, on reliable carriers (BERT, RFC 8323 §6).
pub const BERT: u8 = 7;

impl Block {
    /// From an option's value.
    pub const fn from_uint(value: u32) -> Self {
        Self { number: value >> 4, has_more: value >> 3 & 1 == 1, size_exponent: (value & 7) as u8 }
    }

    /// As an option's value.
    pub const fn to_uint(self) -> u32 {
        self.number << 4 | (self.has_more as u32) << 3 | self.size_exponent as u32
    }

    /// The size of one block; with BERT that of those which are counted.
    pub const fn size_bytes(self) -> usize {
        size_bytes(self.size_exponent)
    }

    /// Where the block begins in the body.
    pub const fn offset_bytes(self) -> usize {
        self.number as usize * self.size_bytes()
    }
}

/// The size of one block with this SZX.
pub const fn size_bytes(size_exponent: u8) -> usize {
    16 << if size_exponent > SIZE_EXPONENT_MAX { SIZE_EXPONENT_MAX } else { size_exponent }
}

/// The SZX of the largest block that is not larger than this; blocks have 16 bytes at least.
pub const fn size_exponent_within(bytes_max: usize) -> u8 {
    let mut size_exponent = SIZE_EXPONENT_MAX;
    while size_exponent > 0 && size_bytes(size_exponent) > bytes_max {
        size_exponent -= 1;
    }
    size_exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_number_more_and_size() {
        let block = Block { number: 0xf_ffff, has_more: true, size_exponent: 2 };
        assert_eq!((block.to_uint(), Block::from_uint(0xff_fffa)), (0xff_fffa, block));
        assert_eq!((block.size_bytes(), block.offset_bytes()), (64, 64 * 0xf_ffff));
        assert_eq!(Block::from_uint(0x17).offset_bytes(), 1_024);
        assert_eq!([0, 16, 31, 32, 1_023, 1_024, 9_999].map(size_exponent_within), [0, 0, 0, 1, 5, 6, 6]);
    }
}
