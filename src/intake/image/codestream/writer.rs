//! How does a test come by lossless JPEG, which hardly any encoder writes?

/// Encodes 5 x 4 pixels as T.81 Annex H has it, all categories in codes of five bits.
#[derive(Clone, Copy)]
pub(crate) struct Lossless {
    pub(crate) precision: u32,
    pub(crate) channels: usize,
    pub(crate) predictor: u8,
    pub(crate) transform: u32,
    /// Rows between restarts.
    pub(crate) rows: usize,
}

impl Lossless {
    /// The file; `samples` are interleaved, `precision` bits each.
    pub(crate) fn encode(&self, samples: &[u16]) -> Vec<u8> {
        let channels = u8::try_from(self.channels).unwrap();
        let mut file = vec![
            0xff,
            0xd8,
            0xff,
            0xc3,
            0,
            8 + 3 * channels,
            u8::try_from(self.precision).unwrap(),
            0,
            4,
            0,
            5,
            channels,
        ];
        (0..channels).for_each(|id| file.extend([id, 0x11, 0]));
        file.extend([0xff, 0xc4, 0, 36, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(0..17);
        file.extend([0xff, 0xdd, 0, 4, 0, u8::try_from(5 * self.rows).unwrap()]);
        file.extend([0xff, 0xda, 0, 6 + 2 * channels, channels]);
        (0..channels).for_each(|id| file.extend([id, 0]));
        file.extend([self.predictor, 0, u8::try_from(self.transform).unwrap()]);
        let mut bits = vec![];
        for y in 0..4 {
            let fresh = y == 0 || (self.rows > 0 && y % self.rows == 0);
            if y > 0 && fresh {
                Self::flush(&mut bits, &mut file);
                file.extend([0xff, 0xd0 + u8::try_from(y / self.rows - 1).unwrap() % 8]);
            }
            for x in 0..5 {
                (0..self.channels).for_each(|c| self.sample(samples, (x, y, c), fresh, &mut bits));
            }
        }
        Self::flush(&mut bits, &mut file);
        file.extend([0xff, 0xd9]);
        file
    }

    fn sample(&self, samples: &[u16], (x, y, c): (usize, usize, usize), fresh: bool, bits: &mut Vec<bool>) {
        let at = |x: usize, y: usize| i32::from(samples[(y * 5 + x) * self.channels + c]) >> self.transform;
        let prediction = match (fresh, x) {
            (true, 0) => 1 << (self.precision - self.transform - 1),
            (true, _) => at(x - 1, y),
            (false, 0) => at(x, y - 1),
            (false, _) => {
                let (left, up, corner) = (at(x - 1, y), at(x, y - 1), at(x - 1, y - 1));
                let plane = left + up - corner;
                let (half, other) = (left + ((up - corner) >> 1), up + ((left - corner) >> 1));
                [0, left, up, corner, plane, half, other, (left + up) >> 1][usize::from(self.predictor)]
            }
        };
        let difference = (at(x, y) - prediction) & 0xffff;
        let signed = if difference > 32768 { difference - 65536 } else { difference };
        let size = if signed == 32768 { 16 } else { 32 - signed.unsigned_abs().leading_zeros() };
        let code = if signed < 0 { signed + (1 << size) - 1 } else { signed };
        bits.extend((0..5).rev().map(|bit| size >> bit & 1 == 1));
        bits.extend((0..size % 16).rev().map(|bit| code >> bit & 1 == 1));
    }

    fn flush(bits: &mut Vec<bool>, file: &mut Vec<u8>) {
        for byte in bits.chunks(8) {
            let byte = (0..8).fold(0, |all, bit| all << 1 | u8::from(byte.get(bit).copied().unwrap_or(true)));
            file.push(byte);
            file.extend((byte == 0xff).then_some(0));
        }
        bits.clear();
    }
}
