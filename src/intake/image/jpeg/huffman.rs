//! What is the next symbol, and what are the next bits, of entropy-coded data?
//!
//! `None` means that the data are at their end, or that no code begins as they do: nothing is made up. A decoder
//! that goes on with zeros (as libjpeg, browsers and most crates do) shows the rest of a cut image in grey.

/// Codes up to this length are found in one step.
const FAST_BITS: u32 = 9;

/// A code (ITU-T T.81, Annex C and F.2.2.3).
#[derive(Clone)]
pub(super) struct Table {
    /// For each beginning of `FAST_BITS` bits: length << 8 | symbol; 0 for a longer code.
    fast: Box<[u16; 1 << FAST_BITS]>,
    /// For each length: the first value of 16 bits that is above its codes, and what to add to a code to find its
    /// place among the symbols.
    longer: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl Table {
    /// From the number of codes of each length and their symbols; `None` where no code could be so.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut fast = Box::new([0_u16; 1 << FAST_BITS]);
        let mut longer = [(0_u32, 0_i32); 17];
        let mut rest = symbols.iter();
        let (mut code, mut taken) = (0_u32, 0_usize);
        for ((length, count), slot) in (1_u32..).zip(counts).zip(longer.iter_mut().skip(1)) {
            slot.1 = i32::try_from(taken).ok()?.checked_sub(i32::try_from(code).ok()?)?;
            for symbol in rest.by_ref().take(usize::from(*count)) {
                if length <= FAST_BITS {
                    let shift = FAST_BITS - length;
                    let begin = usize::try_from(code << shift).ok()?;
                    let entry = u16::try_from(length << 8).ok()? | u16::from(*symbol);
                    fast.get_mut(begin..begin + (1 << shift))?.fill(entry);
                }
                code += 1;
                taken += 1;
            }
            // No code may be all ones (T.81, C.2), so that the next one must still fit.
            if code >= 1 << length && *count > 0 {
                return None;
            }
            slot.0 = code << (16 - length);
            code <<= 1;
        }
        (taken == symbols.len() && rest.next().is_none()).then(|| Self {
            fast,
            longer,
            symbols: symbols.to_vec(),
        })
    }
}

/// Entropy-coded data between two markers, bit by bit, without stuffed bytes (T.81, F.1.2.3).
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The next bits, from the top.
    held: u64,
    /// How many of them there are.
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, held: 0, count: 0 }
    }

    #[inline]
    fn refill(&mut self) {
        if let Some((eight, _)) = self.data.split_first_chunk::<8>()
            && let word = u64::from_be_bytes(*eight)
            // No byte is 0xFF (Hacker's Delight, 6-1, on the complement).
            && (!word).wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080 == 0
        {
            self.held |= word >> self.count;
            let bytes = (63 - self.count) / 8;
            self.data = self.data.get(bytes as usize..).unwrap_or_default();
            self.count += bytes * 8;
            return;
        }
        while self.count <= 56 {
            let Some((byte, rest)) = self.data.split_first() else { return };
            // Behind 0xFF stands a stuffed zero: the walk of the markers has seen to it.
            self.data = if *byte == 0xff { rest.get(1..).unwrap_or_default() } else { rest };
            self.held |= u64::from(*byte) << (56 - self.count);
            self.count += 8;
        }
    }

    #[inline]
    fn drop(&mut self, bits: u32) -> Option<()> {
        self.count = self.count.checked_sub(bits)?;
        self.held <<= bits;
        Some(())
    }

    /// The next symbol.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Table) -> Option<u8> {
        if self.count < 16 {
            self.refill();
        }
        let begin = usize::try_from(self.held >> (64 - FAST_BITS)).ok()?;
        let entry = *table.fast.get(begin)?;
        if entry == 0 {
            return self.long_symbol(table);
        }
        self.drop(u32::from(entry >> 8))?;
        Some(entry.to_le_bytes()[0])
    }

    #[cold]
    fn long_symbol(&mut self, table: &Table) -> Option<u8> {
        let next = u32::try_from(self.held >> 48).ok()?;
        for (length, (above, offset)) in (1_u32..).zip(table.longer.iter().skip(1)).skip(FAST_BITS as usize) {
            if next < *above {
                self.drop(length)?;
                let place = i32::try_from(next >> (16 - length)).ok()?.checked_add(*offset)?;
                return table.symbols.get(usize::try_from(place).ok()?).copied();
            }
        }
        None
    }

    /// The next bits, at most 16, as a number.
    #[inline]
    pub(super) fn bits(&mut self, bits: u32) -> Option<i32> {
        if bits == 0 {
            return Some(0);
        }
        if self.count < bits {
            self.refill();
        }
        let value = self.held >> (64 - bits);
        self.drop(bits)?;
        i32::try_from(value).ok()
    }

    /// The next bits as a signed number of this many bits (T.81, F.2.2.1).
    #[inline]
    pub(super) fn extended(&mut self, bits: u32) -> Option<i32> {
        let value = self.bits(bits)?;
        Some(if bits > 0 && value < 1 << (bits - 1) { value - (1 << bits) + 1 } else { value })
    }

    /// Whether nothing is left but the bits that fill the last byte.
    pub(super) fn is_spent(&self) -> bool {
        self.data.is_empty() && self.count < 8
    }
}
