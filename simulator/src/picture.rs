//! Pure: reading the activation code from a picture, as a device's camera does.

use std::io::Cursor;

use fleetform_domain::activation::ActivationFailure;
use png::{BitDepth, ColorType, Decoder, Encoder, Limits, Transformations};

/// Longest side of a picture that is looked at, in pixels.
const MAX_SIDE: u32 = 4096;

/// Most memory that unpacking a picture may take, in bytes.
const MAX_UNPACKED: usize = 64 * 1024 * 1024;

/// From how many sides a picture is looked at.
const SIDES: usize = 4;

/// The text of the one QR code in a PNG picture.
///
/// # Errors
///
/// [`ActivationFailure::UnableToReadQr`] when the bytes are no picture or no code can be read in it,
/// [`ActivationFailure::MultipleQrCodes`] when more than one can.
pub fn read(png: &[u8]) -> Result<String, ActivationFailure> {
    let mut picture = Grey::from_png(png).ok_or(ActivationFailure::UnableToReadQr)?;
    // The reader mistakes about one clean code in ten thousand. Held another way, it reads that one too.
    for _ in 0..SIDES {
        match picture.codes().as_slice() {
            [] => picture = picture.turned(),
            [text] => return Ok(text.clone()),
            _ => return Err(ActivationFailure::MultipleQrCodes),
        }
    }
    Err(ActivationFailure::UnableToReadQr)
}

/// A picture in 256 greys, row by row; 0 is black.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grey {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: Vec<u8>,
}

impl Grey {
    /// Unpacks a PNG of any colour type and bit depth. Transparency is seen on white, as on a screen.
    pub(crate) fn from_png(png: &[u8]) -> Option<Self> {
        let mut decoder = Decoder::new_with_limits(Cursor::new(png), Limits { bytes: MAX_UNPACKED });
        decoder.set_transformations(Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().ok()?;
        let info = reader.info();
        if info.width > MAX_SIDE || info.height > MAX_SIDE {
            return None;
        }
        let mut bytes = vec![0; reader.output_buffer_size().filter(|size| *size <= MAX_UNPACKED)?];
        let frame = reader.next_frame(&mut bytes).ok()?;
        let (width, height) = (usize::try_from(frame.width).ok()?, usize::try_from(frame.height).ok()?);
        let samples = frame.color_type.samples();
        let grey = |pixel: &[u8]| match *pixel {
            [grey] => grey,
            [grey, alpha] => on_white(grey, alpha),
            [red, green, blue] => luma(red, green, blue),
            [red, green, blue, alpha] => on_white(luma(red, green, blue), alpha),
            _ => u8::MAX,
        };
        let rows = bytes.chunks_exact(frame.line_size).take(height);
        let pixels: Vec<u8> = rows.flat_map(|row| row.chunks_exact(samples).take(width).map(grey)).collect();
        (pixels.len() == width * height && !pixels.is_empty()).then_some(Self { width, height, pixels })
    }

    /// The texts of the codes that can be read as it is held.
    fn codes(&self) -> Vec<String> {
        let (width, height) = (self.width, self.height);
        let mut prepared =
            rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| self.pixels[y * width + x]);
        // A grid that cannot be decoded is a pattern that only looks like a code, or a code too blurred to count.
        prepared.detect_grids().into_iter().filter_map(|grid| grid.decode().ok()).map(|(_, text)| text).collect()
    }

    /// A quarter turn further.
    fn turned(&self) -> Self {
        let (width, height) = (self.height, self.width);
        let pixel = |x: usize, y: usize| self.pixels[(self.height - 1 - x) * self.width + y];
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| pixel(x, y))).collect();
        Self { width, height, pixels }
    }

    /// Packs the picture.
    pub(crate) fn to_png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let side = |length: usize| u32::try_from(length).expect("pictures here are at most a few thousand pixels wide");
        let mut encoder = Encoder::new(&mut bytes, side(self.width), side(self.height));
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header().expect("the header is well formed and memory does not fail");
        writer.write_image_data(&self.pixels).expect("there is one byte for each pixel");
        drop(writer);
        bytes
    }
}

/// Weighted as ITU-R BT.601 does.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    let sum = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    u8::try_from(sum / 1000).unwrap_or(u8::MAX)
}

fn on_white(grey: u8, alpha: u8) -> u8 {
    let mixed = u32::from(grey) * u32::from(alpha) + 255 * (255 - u32::from(alpha));
    u8::try_from(mixed / 255).unwrap_or(u8::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::faults;

    const TEXT: &str = "https://gateway.example:8443#v1.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbb";

    /// A code drawn with one bit a pixel, as small pictures are.
    pub(crate) fn draw(text: &str) -> Vec<u8> {
        let code = qrcode::QrCode::new(text).unwrap();
        let (modules, scale, quiet) = (code.width(), 4, 4);
        let side = (modules + 2 * quiet) * scale;
        let colors = code.to_colors();
        let dark = |x: usize, y: usize| {
            let (x, y) = ((x / scale).wrapping_sub(quiet), (y / scale).wrapping_sub(quiet));
            x < modules && y < modules && colors[y * modules + x] == qrcode::Color::Dark
        };
        let mut data = Vec::new();
        for y in 0..side {
            for byte in 0..side.div_ceil(8) {
                let bits = (0..8).map(|bit| byte * 8 + bit).map(|x| u8::from(x >= side || !dark(x, y)));
                data.push(bits.fold(0, |byte, bit| byte << 1 | bit));
            }
        }
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, u32::try_from(side).unwrap(), u32::try_from(side).unwrap());
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::One);
        encoder.write_header().unwrap().write_image_data(&data).unwrap();
        bytes
    }

    #[test]
    fn one_code_is_read() {
        assert_eq!(read(&draw(TEXT)), Ok(TEXT.to_owned()));
    }

    #[test]
    fn a_picture_packs_and_unpacks() {
        let picture = Grey::from_png(&draw(TEXT)).unwrap();
        assert_eq!(Grey::from_png(&picture.to_png()), Some(picture.clone()));
        assert_eq!(read(&picture.to_png()), Ok(TEXT.to_owned()));
    }

    #[test]
    fn a_code_that_the_reader_mistakes_is_read_from_another_side() {
        let mistaken = "https://127.0.0.1:29529#v1._CdyiDkHcKgqkkLy7_bAtLbCASGa7SOS9y6sNI9DUkg.AX1djEwj4Eq8uBn0kpbsMErQQD\
                        Hkx6hO6Y4MRwHVu5dTAAAAAAAAAAEAAAAAawPAt1BxeF2sirIXKqOsir1wkUdweouNoqYiz3v7IWd90zsI";
        let picture = draw(mistaken);
        assert!(Grey::from_png(&picture).unwrap().codes().is_empty(), "then the second look is no longer needed");
        assert_eq!(read(&picture), Ok(mistaken.to_owned()));
    }

    #[test]
    fn a_quarter_turn_turns_every_pixel() {
        let picture = Grey { width: 3, height: 2, pixels: vec![1, 2, 3, 4, 5, 6] };
        let turned = Grey { width: 2, height: 3, pixels: vec![4, 1, 5, 2, 6, 3] };
        assert_eq!(picture.turned(), turned);
        assert_eq!((0..4).fold(picture.clone(), |now, _| now.turned()), picture);
    }

    #[test]
    fn two_codes_are_one_too_many() {
        let two = faults::side_by_side(&draw(TEXT), &draw("another")).unwrap();
        assert_eq!(read(&two), Err(ActivationFailure::MultipleQrCodes));
        let twice = faults::side_by_side(&draw(TEXT), &draw(TEXT)).unwrap();
        assert_eq!(read(&twice), Err(ActivationFailure::MultipleQrCodes));
    }

    #[test]
    fn no_code_and_no_picture_are_unreadable() {
        let blank = Grey { width: 200, height: 100, pixels: vec![255; 20_000] }.to_png();
        let code = draw(TEXT);
        let covered = faults::covered(&code).unwrap();
        let cut = &code[..code.len() / 2];
        for (what, bytes) in
            [("blank", &blank[..]), ("covered", &covered), ("cut", cut), ("empty", b""), ("text", b"hi")]
        {
            assert_eq!(read(bytes), Err(ActivationFailure::UnableToReadQr), "{what}");
        }
    }

    #[test]
    fn a_picture_that_unpacks_to_gigabytes_is_not_unpacked() {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 60_000, 60_000);
        encoder.set_color(ColorType::Grayscale);
        let _ = encoder.write_header().unwrap();
        assert_eq!(read(&bytes), Err(ActivationFailure::UnableToReadQr));
    }
}
