//! Pure: the picture of an activation code.

use qrcode::canvas::{Canvas, MaskPattern};
use qrcode::{Color, EcLevel, bits, ec};

/// Width of one module of the code, in pixels.
const MODULE: usize = 4;

/// Modules of empty margin around the code (ISO/IEC 18004 asks for four).
const MARGIN: usize = 4;

/// The mask of every code. ISO/IEC 18004 tries all eight and takes the one that looks least like a finder pattern, which takes
/// most of the time that a code takes. Tokens are random, so under any mask the modules are; a test reads them back.
const MASK: MaskPattern = MaskPattern::LargeCheckerboard;

/// Modules along a side, and the modules row by row.
fn modules(text: &str) -> (usize, Vec<Color>) {
    let level = EcLevel::M;
    let bits = bits::encode_auto(text.as_bytes(), level).expect("an activation code fits a QR code");
    let version = bits.version();
    let (data, correction) =
        ec::construct_codewords(&bits.into_bytes(), version, level).expect("the bits are of this version");
    let mut canvas = Canvas::new(version, level);
    canvas.draw_all_functional_patterns();
    canvas.draw_data(&data, &correction);
    canvas.apply_mask(MASK);
    (usize::try_from(version.width()).expect("a width is positive"), canvas.into_colors())
}

/// The picture of `text`: a QR code of error correction level M, as a PNG of one bit a pixel.
///
/// # Panics
/// When the text is longer than a QR code holds (2,331 bytes); activation codes are below 400.
pub fn draw(text: &str) -> Vec<u8> {
    let (modules, dark) = modules(text);
    let side = (modules + 2 * MARGIN) * MODULE;
    let row_bytes = side.div_ceil(8);
    let mut bits = vec![0xff_u8; row_bytes * side];
    for (index, _) in dark.iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
        let (left, top) = ((index % modules + MARGIN) * MODULE, (index / modules + MARGIN) * MODULE);
        for y in top..top + MODULE {
            for x in left..left + MODULE {
                bits[y * row_bytes + x / 8] &= !(0x80 >> (x % 8));
            }
        }
    }
    let mut file = Vec::new();
    let side = u32::try_from(side).expect("a QR code is at most 185 modules wide");
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    // Four times as fast as the default, for a picture of 1.7 instead of 1 KB.
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().expect("writing to memory cannot fail");
    writer.write_image_data(&bits).expect("the picture has as many bits as its header says");
    writer.finish().expect("writing to memory cannot fail");
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::code::CodeSubject;
    use crate::controllers::fixtures;
    use jiff::SignedDuration;
    use uuid::Uuid;

    fn code(number: u128) -> String {
        let device = fixtures::device(&serde_json::json!({}));
        let subject = CodeSubject { project: Uuid::from_u128(number << 64 | 7), device: &device, sequence: 1 };
        let now = fixtures::noon() + SignedDuration::from_secs(i64::try_from(number).unwrap());
        let code = fixtures::mint().code(subject, None, None, (number * 0x9e37_79b9_7f4a_7c15).to_be_bytes(), now);
        code.unwrap().text.0
    }

    fn read(file: &[u8]) -> Vec<String> {
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let (side, row) = (info.width as usize, info.line_size);
        let grey = |x: usize, y: usize| if pixels[y * row + x / 8] & (0x80 >> (x % 8)) == 0 { 0 } else { 255 };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(side, side, grey);
        image.detect_grids().iter().map(|grid| grid.decode().unwrap().1).collect()
    }

    #[test]
    fn a_picture_is_a_small_png() {
        let file = draw(&code(1));
        assert!(file.starts_with(b"\x89PNG"));
        assert!(file.len() < 4096, "{} bytes", file.len());
    }

    #[test]
    fn every_picture_reads_back() {
        for number in 0..300 {
            let text = code(number);
            assert_eq!(read(&draw(&text)), [text]);
        }
    }
}
