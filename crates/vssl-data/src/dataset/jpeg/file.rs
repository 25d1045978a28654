//! What the headers of a JPEG file say: its kind, components, colours, scans and metadata. The kinds that
//! this program does not read are refused here, by name. Called by [`super::decode`].

use super::parts::{Part, Parts, START_OF_SCAN, parts};

/// Everything that is known before a scan is decoded.
pub(super) struct File<'a> {
    pub parts: Parts<'a>,
    pub frame: Frame,
    pub colours: Colours,
    /// The header of each scan, in order.
    pub scans: Vec<Scan>,
    /// The first EXIF block, from its TIFF header on.
    pub exif: Option<&'a [u8]>,
    /// The XMP packet.
    pub xmp: Option<&'a [u8]>,
    /// Whether an Adobe marker says what `colours` say, or there is none.
    pub plain_colours: bool,
}

/// The frame header (B.2.2).
pub(super) struct Frame {
    pub progressive: bool,
    pub width: usize,
    pub height: usize,
    pub components: Vec<Component>,
}

/// One colour plane as the frame header describes it.
#[derive(Clone, Copy)]
pub(super) struct Component {
    pub name: u8,
    /// Samples a unit of the frame, horizontally and vertically: 1 to 4.
    pub horizontal: usize,
    pub vertical: usize,
    /// Number of the quantisation table.
    pub table: usize,
}

/// How the components become RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    Rgb,
    YCbCr,
    Cmyk,
    Ycck,
}

/// A scan header (B.2.3): components with their tables, the band of coefficients and its bits.
#[derive(Debug)]
pub(super) struct Scan {
    /// Index of each component, number of its DC table, number of its AC table.
    pub components: Vec<(usize, usize, usize)>,
    pub first: usize,
    pub last: usize,
    /// The bit that earlier scans reached; 0 in a first scan of the band.
    pub high: u32,
    pub low: u32,
}

impl<'a> File<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// Headers that are damaged or cut, an image of no component, and the kinds that are not read.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        // The first scan of a sequential image that holds every component is the last one of interest.
        let parts = parts(bytes, |list| {
            let sequential = list.iter().find(|part| matches!(part.marker, 0xc0 | 0xc1));
            let scan = list.last().and_then(|scan| scan.body.first());
            sequential.is_some_and(|frame| frame.body.get(5) == scan)
        })?;
        let mut frames = parts.list.iter().filter(|part| is_frame(part.marker));
        let Some(part) = frames.next() else {
            return Err(match parts.list.is_empty() {
                true => "truncated JPEG: nothing but its first bytes".into(),
                false => "damaged JPEG: it has no frame header".into(),
            });
        };
        let frame = Frame::read(part)?;
        if frames.next().is_some() {
            return Err(unsupported("hierarchical, with several frames"));
        }
        let scan_parts = parts.list.iter().filter(|part| part.marker == START_OF_SCAN);
        let scans =
            scan_parts.map(|part| Scan::read(part.body, &frame)).collect::<Result<_, _>>()?;
        let (jfif, adobe) = (has_jfif(&parts.list), adobe(&parts.list));
        let colours = Colours::of(&frame, jfif, adobe);
        let exif = segments(&parts.list, 0xe1, b"Exif\0\0").next();
        let xmp = segments(&parts.list, 0xe1, b"http://ns.adobe.com/xap/1.0/\0").last();
        let plain_colours = match colours {
            Colours::Grey => true,
            Colours::YCbCr => matches!(adobe, None | Some(1)) && !frame.is_named(*b"RGB"),
            Colours::Rgb => frame.is_named(*b"RGB"),
            Colours::Cmyk | Colours::Ycck => false,
        };
        Ok(File { parts, frame, colours, scans, exif, xmp, plain_colours })
    }
}

fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) || marker == 0xf7
}

/// The message for a kind of JPEG that is whole, but not read.
fn unsupported(kind: &str) -> String {
    format!(
        "this kind of JPEG is not supported: {kind}; read are 8-bit baseline, sequential and progressive \
         JPEGs with Huffman codes: convert the file"
    )
}

impl Frame {
    fn read(part: &Part) -> Result<Self, String> {
        match part.marker {
            0xc0..=0xc2 => {}
            0xc3 => return Err(unsupported("lossless")),
            0xc9 | 0xca => return Err(unsupported("arithmetic coding")),
            0xcb => return Err(unsupported("lossless with arithmetic coding")),
            0xf7 => return Err(unsupported("JPEG-LS")),
            _ => return Err(unsupported("hierarchical")),
        }
        let &[precision, h1, h0, w1, w0, count, ref rest @ ..] = part.body else {
            return Err("damaged JPEG: its frame header is too short".into());
        };
        if precision != 8 {
            return Err(unsupported(&format!("{precision} bits a sample")));
        }
        if rest.len() != 3 * usize::from(count) {
            return Err("damaged JPEG: its frame header has the wrong length".into());
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(unsupported(&format!("{count} colour components")));
        }
        let components: Vec<Component> = rest
            .chunks_exact(3)
            .map(|three| Component {
                name: three[0],
                horizontal: usize::from(three[1] >> 4),
                vertical: usize::from(three[1] & 15),
                table: usize::from(three[2]),
            })
            .collect();
        if components.iter().any(|component| {
            !(1..=4).contains(&component.horizontal)
                || !(1..=4).contains(&component.vertical)
                || component.table > 3
        }) {
            return Err("damaged JPEG: its frame header has impossible sampling factors".into());
        }
        Ok(Self {
            progressive: part.marker == 0xc2,
            width: usize::from(u16::from_be_bytes([w1, w0])),
            height: usize::from(u16::from_be_bytes([h1, h0])),
            components,
        })
    }

    /// Whether the components have these three names.
    fn is_named(&self, names: [u8; 3]) -> bool {
        self.components.len() == 3
            && self.components.iter().zip(names).all(|(component, name)| component.name == name)
    }

    /// The largest sampling factors.
    pub fn largest(&self) -> (usize, usize) {
        let most = |of: fn(&Component) -> usize| self.components.iter().map(of).max().unwrap_or(1);
        (most(|component| component.horizontal), most(|component| component.vertical))
    }

    /// The number of samples of a component, horizontally and vertically.
    pub fn size_of(&self, component: &Component) -> (usize, usize) {
        let (most_horizontal, most_vertical) = self.largest();
        (
            (self.width * component.horizontal).div_ceil(most_horizontal),
            (self.height * component.vertical).div_ceil(most_vertical),
        )
    }
}

impl Colours {
    /// libjpeg's rules (`default_decompress_parms` in jdapimin.c): JFIF beats an Adobe marker, which beats
    /// the names of the components.
    fn of(frame: &Frame, jfif: bool, adobe: Option<u8>) -> Self {
        match (frame.components.len(), adobe) {
            (1, _) => Colours::Grey,
            (4, None | Some(0)) => Colours::Cmyk,
            (4, _) => Colours::Ycck,
            _ if jfif => Colours::YCbCr,
            (_, Some(0)) => Colours::Rgb,
            (_, None) if frame.is_named(*b"RGB") => Colours::Rgb,
            _ => Colours::YCbCr,
        }
    }
}

impl Scan {
    fn read(body: &[u8], frame: &Frame) -> Result<Self, String> {
        let damaged = || "damaged JPEG: a scan header that does not fit the frame".to_owned();
        let (&count, rest) = body.split_first().ok_or_else(damaged)?;
        let (list, band) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(damaged)?;
        let &[first, last, bits] = band else { return Err(damaged()) };
        let mut components: Vec<(usize, usize, usize)> = Vec::new();
        for two in list.chunks_exact(2) {
            // Some files give all components one name: each is meant once, in order, as libjpeg has it.
            let found = frame.components.iter().enumerate().position(|(index, component)| {
                component.name == two[0] && components.iter().all(|other| other.0 != index)
            });
            let index = found.ok_or_else(damaged)?;
            components.push((index, usize::from(two[1] >> 4), usize::from(two[1] & 15)));
        }
        let fits =
            (1..=4).contains(&count) && components.iter().all(|&(_, dc, ac)| dc < 4 && ac < 4);
        if !fits {
            return Err(damaged());
        }
        let scan = Scan {
            components,
            first: usize::from(first),
            last: usize::from(last),
            high: u32::from(bits >> 4),
            low: u32::from(bits & 15),
        };
        match frame.progressive {
            // libjpeg ignores the band of a sequential scan, and so do the decoders here.
            false => Ok(Scan { first: 0, last: 63, high: 0, low: 0, ..scan }),
            true if scan.is_a_step() => Ok(scan),
            true => Err(damaged()),
        }
    }

    /// Whether the header is one of a progressive image (G.1.1.1.1).
    fn is_a_step(&self) -> bool {
        let band = match self.first {
            0 => self.last == 0,
            first => first <= self.last && self.last < 64 && self.components.len() == 1,
        };
        band && self.low <= 13 && (self.high == 0 || self.high == self.low + 1)
    }
}

/// The segments with this marker that begin with `signature`, without it.
fn segments<'a>(
    list: &[Part<'a>],
    marker: u8,
    signature: &'static [u8],
) -> impl Iterator<Item = &'a [u8]> {
    let of_kind = list.iter().filter(move |part| part.marker == marker);
    of_kind.filter_map(move |part| part.body.strip_prefix(signature))
}

fn has_jfif(list: &[Part]) -> bool {
    // Shorter ones are no JFIF to libjpeg.
    segments(list, 0xe0, b"JFIF\0").any(|rest| rest.len() >= 9)
}

/// The colour transform that an Adobe marker states.
fn adobe(list: &[Part]) -> Option<u8> {
    segments(list, 0xee, b"Adobe").filter_map(|rest| rest.get(6).copied()).last()
}
