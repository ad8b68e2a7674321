//! Pure: pictures that cannot be read, made on purpose.

use crate::picture::Grey;

/// Two PNG pictures beside each other in one, as two sheets of paper in one view. `None` when one of them is no picture.
pub fn side_by_side(left: &[u8], right: &[u8]) -> Option<Vec<u8>> {
    let (left, right) = (Grey::from_png(left)?, Grey::from_png(right)?);
    let height = left.height.max(right.height);
    let mut pixels = Vec::with_capacity((left.width + right.width) * height);
    for y in 0..height {
        for picture in [&left, &right] {
            let start = y * picture.width;
            match picture.pixels.get(start..start + picture.width) {
                Some(row) => pixels.extend_from_slice(row),
                None => pixels.resize(pixels.len() + picture.width, u8::MAX),
            }
        }
    }
    Some(Grey { width: left.width + right.width, height, pixels }.to_png())
}

/// The PNG picture with more of it covered in white than error correction makes up for. `None` when it is no picture.
pub fn covered(png: &[u8]) -> Option<Vec<u8>> {
    let mut picture = Grey::from_png(png)?;
    let covered = picture.width * picture.height * 2 / 3;
    picture.pixels[..covered].fill(u8::MAX);
    Some(picture.to_png())
}
