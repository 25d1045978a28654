//! libjpeg's encoder and decoder (MozJPEG's, whose decoder is libjpeg-turbo's), as the reference of what a
//! JPEG file is.
#![allow(unsafe_code, reason = "libjpeg is a C library; this is a test")]

use std::panic::{catch_unwind, resume_unwind};
use std::{mem, ptr, slice};

use mozjpeg_sys::J_COLOR_SPACE::{JCS_CMYK, JCS_GRAYSCALE, JCS_RGB, JCS_YCCK, JCS_YCbCr};
use mozjpeg_sys::*;

/// One scan: the components in it, the first and the last coefficient, and the bits before and after.
#[derive(Clone, Debug)]
pub struct Scan {
    pub components: Vec<usize>,
    pub band: (i32, i32),
    pub bits: (i32, i32),
}

/// The colours in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    Grey,
    YCbCr,
    Rgb,
    Cmyk,
    Ycck,
}

impl Colours {
    /// The number of channels.
    pub fn channels(self) -> usize {
        match self {
            Colours::Grey => 1,
            Colours::YCbCr | Colours::Rgb => 3,
            Colours::Cmyk | Colours::Ycck => 4,
        }
    }
}

/// How a picture is written.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub width: usize,
    pub height: usize,
    pub colours: Colours,
    /// Horizontal and vertical sampling factor of each component.
    pub sampling: Vec<(i32, i32)>,
    pub quality: i32,
    /// Units between two restart markers; 0 for none.
    pub restarts: u32,
    pub own_codes: bool,
    pub arithmetic: bool,
    /// Empty for one scan.
    pub scans: Vec<Scan>,
}

extern "C-unwind" fn stop(_: &mut jpeg_common_struct) {
    resume_unwind(Box::new("libjpeg refuses"));
}

extern "C-unwind" fn say_nothing(_: &mut jpeg_common_struct) {}

fn errors() -> Box<jpeg_error_mgr> {
    // SAFETY: all fields are numbers, pointers and optional functions, for which zeros are values, and
    // libjpeg fills them in.
    let mut errors: Box<jpeg_error_mgr> = Box::new(unsafe { mem::zeroed() });
    // SAFETY: the pointer is to a whole struct, which outlives the call.
    unsafe { jpeg_std_error(&mut errors) };
    errors.error_exit = Some(stop);
    errors.output_message = Some(say_nothing);
    errors
}

/// Writes `pixels`, `height · width` times the channels; CMYK as stored, that is inverted. `None` when
/// libjpeg refuses the recipe.
pub fn encode(recipe: &Recipe, pixels: &[u8]) -> Option<Vec<u8>> {
    catch_unwind(|| encoded(recipe, pixels)).ok()
}

fn encoded(recipe: &Recipe, pixels: &[u8]) -> Vec<u8> {
    let channels = recipe.colours.channels();
    assert_eq!(pixels.len(), recipe.width * recipe.height * channels);
    let scans: Vec<jpeg_scan_info> = recipe.scans.iter().map(scan_info).collect();
    let mut errors = errors();
    // SAFETY: as for `errors`; `jpeg_CreateCompress` then makes it whole.
    let mut c: jpeg_compress_struct = unsafe { mem::zeroed() };
    c.common.err = &mut *errors;
    let (mut out, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the calls are in the order of libjpeg.txt; `c`, `errors`, `out`, `size`, `scans` and `pixels`
    // outlive them, there is one entry of `sampling` a component, and every row has `width` pixels.
    unsafe {
        jpeg_CreateCompress(&mut c, JPEG_LIB_VERSION, size_of::<jpeg_compress_struct>());
        jpeg_mem_dest(&mut c, &mut out, &mut size);
        (c.image_width, c.image_height) = (recipe.width as u32, recipe.height as u32);
        c.input_components = channels as i32;
        c.in_color_space = [JCS_GRAYSCALE, JCS_RGB, JCS_CMYK][channels / 2];
        let plain = JINT_COMPRESS_PROFILE_VALUE::JCP_FASTEST as i32;
        jpeg_c_set_int_param(&mut c, JINT_COMPRESS_PROFILE, plain);
        jpeg_set_defaults(&mut c);
        jpeg_set_colorspace(
            &mut c,
            match recipe.colours {
                Colours::Grey => JCS_GRAYSCALE,
                Colours::YCbCr => JCS_YCbCr,
                Colours::Rgb => JCS_RGB,
                Colours::Cmyk => JCS_CMYK,
                Colours::Ycck => JCS_YCCK,
            },
        );
        jpeg_set_quality(&mut c, recipe.quality, 1);
        assert_eq!(c.num_components as usize, recipe.sampling.len());
        let components = slice::from_raw_parts_mut(c.comp_info, recipe.sampling.len());
        for (component, &(horizontal, vertical)) in components.iter_mut().zip(&recipe.sampling) {
            (component.h_samp_factor, component.v_samp_factor) = (horizontal, vertical);
        }
        c.restart_interval = recipe.restarts;
        c.optimize_coding = recipe.own_codes.into();
        c.arith_code = recipe.arithmetic.into();
        c.num_scans = scans.len() as i32;
        c.scan_info = if scans.is_empty() { ptr::null() } else { scans.as_ptr() };
        jpeg_start_compress(&mut c, 1);
        for row in pixels.chunks_exact(recipe.width * channels) {
            jpeg_write_scanlines(&mut c, &row.as_ptr(), 1);
        }
        jpeg_finish_compress(&mut c);
        let bytes = slice::from_raw_parts(out, size as usize).to_vec();
        jpeg_destroy_compress(&mut c);
        // `out` is left to the end of the test: freeing it would need the C library here.
        bytes
    }
}

fn scan_info(scan: &Scan) -> jpeg_scan_info {
    let mut info = jpeg_scan_info {
        comps_in_scan: scan.components.len() as i32,
        Ss: scan.band.0,
        Se: scan.band.1,
        Ah: scan.bits.0,
        Al: scan.bits.1,
        ..Default::default()
    };
    for (to, &component) in info.component_index.iter_mut().zip(&scan.components) {
        *to = component as i32;
    }
    info
}

/// The RGB pixels of a file, CMYK converted as Pillow does; `None` when libjpeg refuses or warns.
pub fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    catch_unwind(|| decoded(bytes)).ok().flatten()
}

fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut errors = errors();
    // SAFETY: as for `errors`; `jpeg_CreateDecompress` then makes it whole.
    let mut c: jpeg_decompress_struct = unsafe { mem::zeroed() };
    c.common.err = &mut *errors;
    // SAFETY: the calls are in the order of libjpeg.txt; `c`, `errors`, `bytes` and `pixels` outlive them, and
    // every row that is written is inside of `pixels`.
    let (pixels, channels) = unsafe {
        jpeg_CreateDecompress(&mut c, JPEG_LIB_VERSION, size_of::<jpeg_decompress_struct>());
        jpeg_mem_src(&mut c, bytes.as_ptr(), bytes.len() as _);
        jpeg_read_header(&mut c, 1);
        c.out_color_space = if c.num_components == 4 { JCS_CMYK } else { JCS_RGB };
        jpeg_start_decompress(&mut c);
        let row = c.output_width as usize * c.output_components as usize;
        let mut pixels = vec![0; row * c.output_height as usize];
        while c.output_scanline < c.output_height {
            let mut to = pixels[c.output_scanline as usize * row..][..row].as_mut_ptr();
            jpeg_read_scanlines(&mut c, &mut to, 1);
        }
        jpeg_finish_decompress(&mut c);
        let channels = c.output_components;
        jpeg_destroy_decompress(&mut c);
        (pixels, channels)
    };
    if errors.num_warnings > 0 {
        return None;
    }
    Some(match channels {
        4 => pixels
            .chunks_exact(4)
            .flat_map(|inks| printed([inks[0], inks[1], inks[2]], inks[3]))
            .collect(),
        _ => pixels,
    })
}

/// Pillow's conversion of CMYK, which is stored inverted.
fn printed(stored: [u8; 3], light: u8) -> [u8; 3] {
    stored.map(|stored| {
        let product = (255 - u32::from(stored)) * u32::from(light) + 128;
        light.saturating_sub((((product >> 8) + product) >> 8) as u8)
    })
}
