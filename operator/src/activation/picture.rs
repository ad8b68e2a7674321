//! Pure: the picture of an activation code.

use qrcode::{EcLevel, QrCode};

/// Width of one module of the code, in pixels.
const MODULE: usize = 4;

/// Modules of empty margin around the code (ISO/IEC 18004 asks for four).
const MARGIN: usize = 4;

/// The picture of `text`: a QR code of error correction level M, as a PNG of one bit a pixel.
///
/// # Panics
/// When the text is longer than a QR code holds (2,331 bytes); activation codes are below 400.
pub fn draw(text: &str) -> Vec<u8> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).expect("an activation code fits a QR code");
    let modules = code.width();
    let dark = code.to_colors();
    let side = (modules + 2 * MARGIN) * MODULE;
    let row_bytes = side.div_ceil(8);
    let mut bits = vec![0xff_u8; row_bytes * side];
    for (index, _) in dark.iter().enumerate().filter(|(_, color)| **color == qrcode::Color::Dark) {
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
    let mut writer = encoder.write_header().expect("writing to memory cannot fail");
    writer.write_image_data(&bits).expect("the picture has as many bits as its header says");
    writer.finish().expect("writing to memory cannot fail");
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_a_small_png() {
        let file = draw(&"x".repeat(200));
        assert!(file.starts_with(b"\x89PNG"));
        assert!(file.len() < 4096, "{} bytes", file.len());
    }
}
