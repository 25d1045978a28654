//! JPEG files of every make against libjpeg: the same picture, or a refusal that gives the reason.

use std::fs;
use std::path::Path;

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use tempfile::tempdir;
use vssl_data::Image;
use vssl_data::dataset::{Format, Labels};

use super::{assert_says, open, write};
use crate::libjpeg::{self, Colours, Recipe, Scan};

const IMAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images");

fn read(bytes: &[u8]) -> Result<Image, String> {
    let folder = tempdir().unwrap();
    write(folder.path().join("x.jpg"), bytes);
    let set = open(Format::Folder, folder.path(), Labels::Auto).unwrap().train;
    set.image(0).map_err(|error| error.to_string())
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).expect_err("the file was read")
}

fn shipped(name: &str) -> Vec<u8> {
    fs::read(Path::new(IMAGES).join(name)).unwrap()
}

/// A picture of waves with noise on it, which is what shows a wrong place or colour.
fn picture(recipe: &Recipe, random: &mut impl Rng) -> Vec<u8> {
    let channels = recipe.colours.channels();
    let noise = [0.0, 20.0, 255.0][random.random_range(0..3)];
    let wave: Vec<(f32, f32)> = (0..channels).map(|_| random.random()).collect();
    let mut pixels = Vec::new();
    for y in 0..recipe.height {
        for x in 0..recipe.width {
            for &(across, down) in &wave {
                let value =
                    (x as f32 * across * 0.3).sin() + (y as f32 * down * 0.3 + across).cos();
                let value = 128.0 + 60.0 * value + noise * (random.random::<f32>() - 0.5);
                pixels.push(value.clamp(0.0, 255.0) as u8);
            }
        }
    }
    pixels
}

fn recipe(random: &mut impl Rng) -> Recipe {
    use Colours::{Cmyk, Grey, Rgb, YCbCr, Ycck};
    let colours = [YCbCr, YCbCr, YCbCr, YCbCr, Grey, Rgb, Cmyk, Ycck][random.random_range(0..8)];
    let factor = |random: &mut dyn rand::RngCore| [1, 1, 2, 2, 3, 4][random.random_range(0..6)];
    let mut sampling = vec![(1, 1); colours.channels()];
    match random.random_range(0..4) {
        0 => {}
        1 | 2 => sampling[0] = [(2, 1), (1, 2), (2, 2), (4, 1), (1, 4)][random.random_range(0..5)],
        _ => {
            for factors in &mut sampling {
                *factors = (factor(random), factor(random));
            }
        }
    }
    let scans = match random.random_range(0..3) {
        0 => Vec::new(),
        1 => sequential_scans(colours.channels(), random),
        _ => progressive_scans(colours.channels(), random),
    };
    Recipe {
        width: random.random_range(1..70),
        height: random.random_range(1..70),
        colours,
        sampling,
        quality: random.random_range(20..100),
        restarts: if random.random_bool(0.3) { random.random_range(1..20) } else { 0 },
        own_codes: random.random(),
        arithmetic: false,
        scans,
    }
}

/// Neighbouring components together or apart.
fn groups(channels: usize, random: &mut impl Rng) -> Vec<Vec<usize>> {
    let mut groups = vec![vec![0]];
    for component in 1..channels {
        match groups.last_mut() {
            Some(last) if random.random() => last.push(component),
            _ => groups.push(vec![component]),
        }
    }
    groups
}

fn sequential_scans(channels: usize, random: &mut impl Rng) -> Vec<Scan> {
    let scan = |components| Scan { components, band: (0, 63), bits: (0, 0) };
    groups(channels, random).into_iter().map(scan).collect()
}

/// First the DC coefficients of all components, then bands of the others, each bit by bit.
fn progressive_scans(channels: usize, random: &mut impl Rng) -> Vec<Scan> {
    let low = random.random_range(0..3);
    let steps = |components: &Vec<usize>, band, low| -> Vec<Scan> {
        let first = Scan { components: components.clone(), band, bits: (0, low) };
        let more = (0..low).rev().map(|low| Scan { bits: (low + 1, low), ..first.clone() });
        [first.clone()].into_iter().chain(more).collect()
    };
    let mut scans = Vec::new();
    let mut lists = Vec::new();
    for group in groups(channels, random) {
        let mut dc = steps(&group, (0, 0), low);
        scans.push(dc.remove(0));
        lists.push(dc);
    }
    for component in 0..channels {
        let mut start = 1;
        while start < 64 {
            let end = random.random_range(start..64).max(if random.random() { 63 } else { 0 });
            lists.push(steps(&vec![component], (start, end), random.random_range(0..3)));
            start = end + 1;
        }
    }
    // The steps of one list stay in order; the lists are mixed.
    let mut order: Vec<usize> =
        lists.iter().enumerate().flat_map(|(index, list)| vec![index; list.len()]).collect();
    order.shuffle(random);
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    scans.extend(order.into_iter().filter_map(|index| lists[index].next()));
    scans
}

/// Whether the exact decoder takes this kind: its pictures are libjpeg's to the bit.
fn is_exact(recipe: &Recipe) -> bool {
    let apart = recipe.scans.len() > 1 && recipe.scans[0].band == (0, 63);
    let chroma = recipe.sampling.iter().skip(1).any(|&factors| factors != (1, 1));
    apart || chroma || recipe.colours.channels() == 4 || recipe.width <= 4
}

/// Asserts that the picture is libjpeg's, as closely as the decoder of its kind comes.
fn assert_is_libjpegs(got: &Image, expected: &[u8], recipe: &Recipe) {
    assert_eq!((got.width, got.height), (recipe.width, recipe.height), "{recipe:?}");
    let inside = |at: usize| {
        let (x, y) = (at / 3 % got.width, at / 3 / got.width);
        x + 1 < got.width && y + 1 < got.height
    };
    let pairs = got.values.iter().zip(expected).map(|(&a, &b)| a.abs_diff(b));
    let (mut worst, mut sum, mut count) = (0, 0.0, 0);
    for (_, difference) in pairs.enumerate().filter(|&(at, _)| is_exact(recipe) || inside(at)) {
        worst = worst.max(difference);
        sum += f64::from(difference);
        count += 1;
    }
    let mean = sum / f64::from(count.max(1));
    // The quick decoder rounds differently where it enlarges chroma.
    let enlarged = recipe.sampling[0] != (1, 1);
    let limit = match (is_exact(recipe), enlarged) {
        (true, _) => (0, 0.0),
        (false, false) => (3, 0.2),
        (false, true) => (6, 0.6),
    };
    assert!(worst <= limit.0 && mean <= limit.1, "worst {worst}, mean {mean}: {recipe:?}");
}

#[test]
fn every_jpeg_that_libjpeg_writes_is_its_picture() {
    let mut random = ChaCha8Rng::seed_from_u64(17);
    let (mut checked, mut exact, mut unread) = (0, 0, 0);
    for _ in 0..1500 {
        let recipe = recipe(&mut random);
        let pixels = picture(&recipe, &mut random);
        let Some(bytes) = libjpeg::encode(&recipe, &pixels) else { continue };
        match libjpeg::decode(&bytes) {
            Some(expected) => {
                let got = read(&bytes).unwrap_or_else(|error| panic!("{error}: {recipe:?}"));
                assert_is_libjpegs(&got, &expected, &recipe);
                checked += 1;
                exact += usize::from(is_exact(&recipe));
            }
            None => {
                // Sampling factors without a whole ratio.
                assert_says(&refusal(&bytes), &["not supported", "ratio"]);
                unread += 1;
            }
        }
    }
    println!(
        "{checked} images checked, {exact} of them bit by bit, {unread} refused as by libjpeg"
    );
    assert!(checked > 700 && exact > 300, "{checked} {exact}");
}

#[test]
fn a_scan_that_was_cut_and_closed_is_refused() {
    let mut random = ChaCha8Rng::seed_from_u64(18);
    let (mut cut, mut harmless) = (0, 0);
    while cut < 300 {
        let recipe = recipe(&mut random);
        let pixels = picture(&recipe, &mut random);
        let Some(bytes) = libjpeg::encode(&recipe, &pixels) else { continue };
        let Ok(whole) = read(&bytes) else { continue };
        let start = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 14;
        if start + 6 > bytes.len() {
            continue;
        }
        let at = random.random_range(start..bytes.len() - 5);
        let closed = [&bytes[..at], &[0xff, 0xd9]].concat();
        for bytes in [&closed, &bytes[..at]] {
            match read(bytes) {
                Err(error) => assert!(
                    error.contains("damaged") || error.contains("truncated"),
                    "{error}: {recipe:?}"
                ),
                // The last bits of the last coefficients, which no code announces.
                Ok(got) => {
                    let last = recipe.scans.last().expect("the only scan has codes to its end");
                    assert!(
                        last.bits.0 > 0 && last.band.0 > 0,
                        "{at} of {}: {recipe:?}",
                        bytes.len()
                    );
                    let sum: u64 = got
                        .values
                        .iter()
                        .zip(&whole.values)
                        .map(|(&a, &b)| u64::from(a.abs_diff(b)))
                        .sum();
                    assert!(sum as f64 / got.values.len() as f64 <= 2.0, "{recipe:?}");
                    harmless += 1;
                }
            }
        }
        cut += 1;
    }
    println!("{cut} files cut, {harmless} readings lacked refinement bits only");
    assert!(harmless <= cut / 20, "{harmless}");
}

#[test]
fn a_whole_picture_is_read_whatever_follows_it() {
    let mut random = ChaCha8Rng::seed_from_u64(19);
    let mut checked = 0;
    while checked < 200 {
        let recipe = recipe(&mut random);
        let pixels = picture(&recipe, &mut random);
        let Some(bytes) = libjpeg::encode(&recipe, &pixels) else { continue };
        let Ok(whole) = read(&bytes) else { continue };
        let bare = &bytes[..bytes.len() - 2];
        let trailer: Vec<u8> = (0..60).map(|_| random.random()).collect();
        for rest in [b"MakerNote of a camera".as_slice(), &trailer, b"", b"\xff\xd9\xff\xd8\xff"] {
            let got = read(&[bare, rest].concat());
            assert_eq!(got.as_ref(), Ok(&whole), "{rest:02x?} {recipe:?}");
        }
        checked += 1;
    }
}

#[test]
fn a_header_without_data_takes_no_memory() {
    let bytes = shipped("jpeg_420.jpg");
    let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 14;
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let only = [&bytes[..scan], &[0xff, 0xd9]].concat();
    assert_says(&refusal(&only), &["damaged", "too few blocks"]);
    let mut large = only.clone();
    // 13,000 × 13,000 pixels would be half a gigabyte.
    large[frame + 5..frame + 9].copy_from_slice(&[0x32, 0xc8, 0x32, 0xc8]);
    assert_says(&refusal(&large), &["13000×13000", "too few blocks", "the file has"]);
    // The same as a progressive image whose first scan has the DC coefficients.
    large[frame + 1] = 0xc2;
    large[scan - 2] = 0;
    assert_says(&refusal(&large), &["13000×13000", "too few blocks"]);
}

#[test]
fn a_progressive_image_without_its_last_scans_is_refused() {
    let bytes = shipped("jpeg_progressive.jpg");
    let scans: Vec<usize> =
        (0..bytes.len() - 1).filter(|&at| bytes[at..at + 2] == [0xff, 0xda]).collect();
    assert!(scans.len() > 5);
    for &at in &scans[1..] {
        let cut = [&bytes[..at], &[0xff, 0xd9]].concat();
        assert_says(&refusal(&cut), &["too few scans"]);
    }
}

#[test]
fn scans_that_take_too_long_are_refused() {
    let mut large = shipped("jpeg_progressive.jpg");
    let frame = large.windows(2).position(|pair| pair == [0xff, 0xc2]).unwrap();
    large[frame + 5..frame + 9].copy_from_slice(&[13000_u16.to_be_bytes(); 2].concat());
    let scans: Vec<usize> =
        (0..large.len() - 1).filter(|&at| large[at..at + 2] == [0xff, 0xda]).collect();
    let again = large[scans[1]..scans[2]].repeat(60);
    // Long enough for the blocks of the picture.
    let many = [&large[..scans[2]], &again, &large[scans[2]..], &[0; 1 << 20]].concat();
    assert_says(&refusal(&many), &["damaged JPEG", "pass over", "more than any image needs"]);
}

#[test]
fn kinds_that_are_not_read_are_called_by_their_name() {
    let recipe = Recipe {
        width: 16,
        height: 16,
        colours: Colours::Grey,
        sampling: vec![(1, 1)],
        quality: 90,
        restarts: 0,
        own_codes: false,
        arithmetic: true,
        scans: Vec::new(),
    };
    let arithmetic = libjpeg::encode(&recipe, &[100; 256]).unwrap();
    assert_says(&refusal(&arithmetic), &["not supported", "arithmetic"]);
    let bytes = shipped("jpeg_444.jpg");
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    for (marker, name) in [(0xc3, "lossless"), (0xc5, "hierarchical"), (0xf7, "JPEG-LS")] {
        let mut other = bytes.clone();
        other[frame + 1] = marker;
        assert_says(&refusal(&other), &["this kind of JPEG is not supported", name]);
    }
    let mut twelve = bytes.clone();
    twelve[frame + 4] = 12;
    assert_says(&refusal(&twelve), &["this kind of JPEG is not supported", "12 bits"]);
}

#[test]
fn components_of_one_name_are_meant_in_order() {
    let mut bytes = shipped("jpeg_420.jpg");
    let expected = libjpeg::decode(&bytes).unwrap();
    let at =
        |bytes: &[u8], marker| bytes.windows(2).position(|pair| pair == [0xff, marker]).unwrap();
    let (frame, scan) = (at(&bytes, 0xc0), at(&bytes, 0xda));
    for component in 0..3 {
        bytes[frame + 10 + 3 * component] = 1;
        bytes[scan + 5 + 2 * component] = 1;
    }
    assert_eq!(libjpeg::decode(&bytes).as_ref(), Some(&expected));
    assert_eq!(read(&bytes).unwrap().values, expected);
}

/// The file with segments behind its first two bytes.
fn with(bytes: &[u8], segments: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = bytes[..2].to_vec();
    for (marker, body) in segments {
        out.extend([0xff, *marker]);
        out.extend((body.len() as u16 + 2).to_be_bytes());
        out.extend(*body);
    }
    [&out, &bytes[2..]].concat()
}

#[test]
fn jfif_beats_an_adobe_marker() {
    let bytes = shipped("jpeg_444.jpg");
    let plain = read(&bytes).unwrap();
    for transform in 0..4 {
        let adobe = [b"Adobe\0\x64\0\0\0\0".as_slice(), &[transform]].concat();
        let both = with(&bytes, &[(0xee, &adobe)]);
        let expected = libjpeg::decode(&with(&bytes, &[])).unwrap();
        let got = read(&both).unwrap();
        let worst = got.values.iter().zip(&expected).map(|(&a, &b)| a.abs_diff(b)).max().unwrap();
        assert!(worst <= 3, "transform {transform}: {worst}");
        // Without JFIF, the transform counts.
        let length = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
        let alone = with(&[&bytes[..2], &bytes[4 + length..]].concat(), &[(0xee, &adobe)]);
        let pairs = read(&alone).unwrap().values.into_iter().zip(&plain.values);
        let worst = pairs.map(|(a, &b)| a.abs_diff(b)).max().unwrap();
        assert_eq!(worst > 50, transform == 0, "transform {transform}: {worst}");
    }
}

#[test]
fn orientation_is_found_in_unusual_places() {
    let bytes = shipped("exif_1.jpg");
    // Without metadata of its own.
    let exif_at = bytes.windows(6).position(|six| six == b"Exif\0\0").unwrap() - 4;
    let length = usize::from(u16::from_be_bytes([bytes[exif_at + 2], bytes[exif_at + 3]]));
    let bare = [&bytes[..exif_at], &bytes[exif_at + 2 + length..]].concat();
    let upright = read(&bare).unwrap();
    let turned = |segments: &[(u8, &[u8])]| read(&with(&bare, segments)).unwrap();
    let exif = |kind: u8, value: u8| {
        let entry = [0x12, 1, kind, 0, 1, 0, 0, 0, value, 0, 0, 0, 0, 0, 0, 0];
        [b"Exif\0\0II*\0\x08\0\0\0\x01\0".as_slice(), &entry].concat()
    };
    let xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation=\"6\"/>";
    let by_exif = turned(&[(0xe1, &exif(3, 6))]);
    assert_eq!((by_exif.width, by_exif.height), (upright.height, upright.width));
    let doubled = [b"Exif\0\0".as_slice(), &exif(3, 6)].concat();
    for segments in [
        vec![(0xe1, exif(4, 6))],
        vec![(0xe1, doubled)],
        vec![(0xe1, exif(3, 6)), (0xe1, exif(3, 1))],
        vec![(0xe1, xmp.to_vec())],
    ] {
        let segments: Vec<(u8, &[u8])> =
            segments.iter().map(|(marker, body)| (*marker, body.as_slice())).collect();
        assert_eq!(turned(&segments), by_exif, "{segments:02x?}");
    }
    assert_eq!(turned(&[(0xe1, &exif(3, 1)), (0xe1, xmp)]), upright);
}
