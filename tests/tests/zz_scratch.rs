//! scratch
use fleetform_simulator::picture::read;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
fn text(r: &mut StdRng) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut s = |n: usize| (0..n).map(|_| alphabet[r.random_range(0..64)] as char).collect::<String>();
    format!("https://127.0.0.1:31751#v1.{}.{}", s(43), s(108))
}
fn grid(text: &str, level: qrcode::EcLevel, scale: usize) -> (usize, Vec<u8>) {
    let code = qrcode::QrCode::with_error_correction_level(text, level).unwrap();
    let m = code.width();
    let side = (m + 8) * scale;
    let colors = code.to_colors();
    let mut px = vec![255u8; side * side];
    for y in 0..side {
        for x in 0..side {
            let (mx, my) = ((x / scale).wrapping_sub(4), (y / scale).wrapping_sub(4));
            if mx < m && my < m && colors[my * m + mx] == qrcode::Color::Dark {
                px[y * side + x] = 0;
            }
        }
    }
    (side, px)
}
#[test]
fn rates() {
    let mut r = StdRng::seed_from_u64(7);
    let texts: Vec<_> = (0..1500).map(|_| text(&mut r)).collect();
    let bad =
        texts.iter().filter(|t| read(&fleetform_operator::activation::picture::draw(t)).as_ref() != Ok(*t)).count();
    println!("as is: {bad} of {}", texts.len());
    for level in [qrcode::EcLevel::L, qrcode::EcLevel::M, qrcode::EcLevel::Q] {
        for scale in [2, 3, 4, 5, 6, 8, 10] {
            let (mut none, mut undec, mut multi) = (0, 0, 0);
            for t in &texts[..400] {
                let (side, px) = grid(t, level, scale);
                let mut p = rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| px[y * side + x]);
                let g = p.detect_grids();
                let ok = g.iter().filter(|g| g.decode().is_ok_and(|(_, s)| s == *t)).count();
                if g.is_empty() {
                    none += 1
                } else if ok == 0 {
                    undec += 1
                } else if g.len() > 1 {
                    multi += 1
                }
            }
            println!("{level:?} scale {scale}: no grid {none}, undecodable {undec}, more grids {multi}");
        }
    }
}
