//! How does a test come by a DICOM file? Writes PS3.10 files in every uncompressed transfer syntax and encapsulated,
//! honest by default and lying where a test wants it.

use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::io::Write as _;

/// Uncompressed transfer syntaxes.
pub(crate) const IMPLICIT: &str = "1.2.840.10008.1.2";
pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(crate) const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
pub(crate) const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
/// Encapsulated ones.
pub(crate) const RLE: &str = "1.2.840.10008.1.2.5";
pub(crate) const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";

/// A tag.
pub(crate) type Tag = (u16, u16);

/// The value of an element.
#[derive(Clone)]
pub(crate) enum Body {
    /// As it is.
    Bytes(Vec<u8>),
    /// In the byte order of the syntax.
    Words(Vec<u16>),
    /// Items; whether their lengths and the sequence's are defined.
    Items(Vec<Vec<Element>>, bool),
    /// An offset table and fragments.
    Fragments(Vec<Vec<u8>>),
    /// A length of 32 bits that is a lie, and bytes.
    Lie(u32, Vec<u8>),
}

/// An element of a data set.
#[derive(Clone)]
pub(crate) struct Element {
    pub(crate) tag: Tag,
    pub(crate) vr: &'static str,
    pub(crate) body: Body,
}

/// A file to be.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) preamble: [u8; 128],
    pub(crate) syntax: String,
    pub(crate) elements: Vec<Element>,
}

/// Text, made even: with a zero for UIDs, with a space else.
pub(crate) fn text(tag: Tag, vr: &'static str, value: &str) -> Element {
    let mut bytes = value.as_bytes().to_vec();
    if bytes.len() % 2 == 1 {
        bytes.push(if vr == "UI" { 0 } else { b' ' });
    }
    Element { tag, vr, body: Body::Bytes(bytes) }
}

/// Numbers of 16 bits.
pub(crate) fn words(tag: Tag, vr: &'static str, values: &[u16]) -> Element {
    Element { tag, vr, body: Body::Words(values.to_vec()) }
}

/// One number of 16 bits.
pub(crate) fn number(tag: Tag, value: u16) -> Element {
    words(tag, "US", &[value])
}

/// Bytes.
pub(crate) fn bytes(tag: Tag, vr: &'static str, value: &[u8]) -> Element {
    Element { tag, vr, body: Body::Bytes(value.to_vec()) }
}

/// A sequence.
pub(crate) fn sequence(tag: Tag, items: Vec<Vec<Element>>, defined: bool) -> Element {
    Element { tag, vr: "SQ", body: Body::Items(items, defined) }
}

/// Pixel data in fragments, the first of them the offset table.
pub(crate) fn fragments(fragments: Vec<Vec<u8>>) -> Element {
    Element { tag: (0x7FE0, 0x0010), vr: "OB", body: Body::Fragments(fragments) }
}

impl File {
    /// A CT slice of 16 bits with a sign, `samples` row by row, with attributes of a patient who does not exist.
    pub(crate) fn ct(columns: u16, rows: u16, samples: &[u16]) -> Self {
        let elements = vec![
            text((0x0008, 0x0016), "UI", "1.2.840.10008.5.1.4.1.1.2"),
            text((0x0008, 0x0060), "CS", "CT"),
            text((0x0010, 0x0010), "PN", "SECRET^NAME"),
            text((0x0018, 0x0015), "CS", "CHEST"),
            text((0x0020, 0x000D), "UI", "1.2.3.4.5"),
            number((0x0028, 0x0002), 1),
            text((0x0028, 0x0004), "CS", "MONOCHROME2"),
            number((0x0028, 0x0010), rows),
            number((0x0028, 0x0011), columns),
            number((0x0028, 0x0100), 16),
            number((0x0028, 0x0101), 16),
            number((0x0028, 0x0102), 15),
            number((0x0028, 0x0103), 1),
            text((0x0028, 0x1052), "DS", "-1024"),
            text((0x0028, 0x1053), "DS", "1"),
            words((0x7FE0, 0x0010), "OW", samples),
        ];
        Self { preamble: [0; 128], syntax: EXPLICIT.to_owned(), elements }
    }

    /// Grey of 8 bits.
    pub(crate) fn grey(columns: u16, rows: u16, samples: &[u8]) -> Self {
        let pixels = bytes((0x7FE0, 0x0010), "OB", samples);
        Self::ct(columns, rows, &[]).bits(8, 8, false).with(pixels)
    }

    /// Colour of 8 bits, pixel by pixel.
    pub(crate) fn colour(columns: u16, rows: u16, photometric: &str, samples: &[u8]) -> Self {
        let file = Self::grey(columns, rows, samples).with(number((0x0028, 0x0002), 3));
        file.with(text((0x0028, 0x0004), "CS", photometric)).with(number((0x0028, 0x0006), 0))
    }

    /// With this element in its place, instead of one of the same tag.
    pub(crate) fn with(mut self, element: Element) -> Self {
        self.elements.retain(|other| other.tag != element.tag);
        let at = self.elements.partition_point(|other| other.tag < element.tag);
        self.elements.insert(at, element);
        self
    }

    /// Without an element.
    pub(crate) fn without(mut self, tag: Tag) -> Self {
        self.elements.retain(|other| other.tag != tag);
        self
    }

    /// With other cells.
    pub(crate) fn bits(self, allocated: u16, stored: u16, signed: bool) -> Self {
        let file = self.with(number((0x0028, 0x0100), allocated)).with(number((0x0028, 0x0101), stored));
        let file = file.with(number((0x0028, 0x0102), stored.wrapping_sub(1)));
        file.with(number((0x0028, 0x0103), u16::from(signed)))
    }

    /// In another transfer syntax.
    pub(crate) fn written(mut self, syntax: &str) -> Self {
        syntax.clone_into(&mut self.syntax);
        self
    }

    /// The file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut data_set = Vec::new();
        for element in &self.elements {
            self.element(element, &mut data_set);
        }
        if self.syntax == DEFLATED {
            let mut deflater = DeflateEncoder::new(Vec::new(), Compression::best());
            deflater.write_all(&data_set).unwrap();
            data_set = deflater.finish().unwrap();
        }
        around(&self.preamble, &self.syntax, &data_set)
    }

    fn implicit(&self) -> bool {
        self.syntax == IMPLICIT
    }

    fn u16(&self, value: u16) -> [u8; 2] {
        if self.syntax == BIG_ENDIAN { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u32(&self, value: u32) -> [u8; 4] {
        if self.syntax == BIG_ENDIAN { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn tag(&self, (group, element): Tag, out: &mut Vec<u8>) {
        out.extend(self.u16(group));
        out.extend(self.u16(element));
    }

    fn head(&self, element: &Element, length: u32, out: &mut Vec<u8>) {
        self.tag(element.tag, out);
        if self.implicit() {
            out.extend(self.u32(length));
            return;
        }
        out.extend(element.vr.as_bytes());
        if matches!(element.vr, "OB" | "OW" | "OF" | "OD" | "OV" | "SQ" | "UN" | "UT") {
            out.extend([0, 0]);
            out.extend(self.u32(length));
        } else {
            out.extend(self.u16(u16::try_from(length).unwrap_or(u16::MAX)));
        }
    }

    fn item(&self, element: u16, length: u32, out: &mut Vec<u8>) {
        self.tag((0xFFFE, element), out);
        out.extend(self.u32(length));
    }

    fn element(&self, element: &Element, out: &mut Vec<u8>) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        match &element.body {
            Body::Bytes(value) => {
                self.head(element, length(value), out);
                out.extend(value);
            }
            Body::Words(values) => {
                let value: Vec<u8> = values.iter().flat_map(|value| self.u16(*value)).collect();
                self.head(element, length(&value), out);
                out.extend(value);
            }
            Body::Items(items, defined) => {
                let mut value = Vec::new();
                for item in items {
                    let mut inner = Vec::new();
                    for element in item {
                        self.element(element, &mut inner);
                    }
                    self.item(0xE000, if *defined { length(&inner) } else { u32::MAX }, &mut value);
                    value.extend(inner);
                    if !*defined {
                        self.item(0xE00D, 0, &mut value);
                    }
                }
                self.head(element, if *defined { length(&value) } else { u32::MAX }, out);
                out.extend(value);
                if !*defined {
                    self.item(0xE0DD, 0, out);
                }
            }
            Body::Fragments(fragments) => {
                self.head(element, u32::MAX, out);
                for fragment in fragments {
                    self.item(0xE000, length(fragment), out);
                    out.extend(fragment);
                }
                self.item(0xE0DD, 0, out);
            }
            Body::Lie(length, value) => {
                self.head(element, *length, out);
                out.extend(value);
            }
        }
    }
}

/// A data set with the outer parts of a file around it.
pub(crate) fn around(preamble: &[u8; 128], syntax: &str, data_set: &[u8]) -> Vec<u8> {
    let outer = File { preamble: *preamble, syntax: EXPLICIT.to_owned(), elements: Vec::new() };
    let mut meta = Vec::new();
    outer.element(&bytes((0x0002, 0x0001), "OB", &[0, 1]), &mut meta);
    outer.element(&text((0x0002, 0x0010), "UI", syntax), &mut meta);
    let mut file = preamble.to_vec();
    file.extend(b"DICM");
    let length = u32::try_from(meta.len()).unwrap().to_le_bytes();
    outer.element(&bytes((0x0002, 0x0000), "UL", &length), &mut file);
    file.extend(meta);
    file.extend(data_set);
    file
}

/// A frame in RLE Lossless: its byte planes, each run-length coded.
pub(crate) fn rle(planes: &[Vec<u8>]) -> Vec<u8> {
    let mut header = vec![u32::try_from(planes.len()).unwrap()];
    let mut body: Vec<u8> = Vec::new();
    for plane in planes {
        header.push(64 + u32::try_from(body.len()).unwrap());
        for run in plane.chunk_by(|a, b| a == b).flat_map(|run| run.chunks(128)) {
            match run {
                [byte] => body.extend([0, *byte]),
                _ => body.extend([u8::try_from(257 - run.len()).unwrap(), run[0]]),
            }
        }
        if body.len() % 2 == 1 {
            body.push(0);
        }
    }
    header.resize(16, 0);
    let mut frame: Vec<u8> = header.iter().flat_map(|number| number.to_le_bytes()).collect();
    frame.extend(body);
    frame
}
