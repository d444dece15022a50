use super::*;

/// Numbers in -0.5..0.5 that look random and are always the same.
fn numbers(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        as_f64(usize::try_from(state >> 11).unwrap()) / (2.0_f64).powi(53) - 0.5
    }
}

/// Rows of two classes, three apart in the first dimension, whose second follows the first.
fn rows(n: usize, dimensions: usize) -> Vec<(usize, Vec<f64>)> {
    let mut number = numbers(7);
    let row = |i: usize| {
        let class = i % 2;
        let mut row: Vec<f64> = (0..dimensions).map(|_| number()).collect();
        if dimensions > 1 {
            row[1] = row[0] + 0.1 * row[1];
        }
        row[0] += 3.0 * as_f64(class);
        (class, row)
    };
    (0..n).map(row).collect()
}

fn shrunk(rows: Vec<(usize, Vec<f64>)>) -> Option<Gaussians> {
    Gaussians::learn(rows, &Ridge::Shrink)
}

#[test]
fn rows_that_tell_nothing_are_not_learnt() {
    assert_eq!(shrunk(Vec::new()), None);
    assert_eq!(shrunk(rows(Gaussians::ROWS_MIN - 1, 3)), None);
    assert_eq!(shrunk(vec![(0, Vec::new()); 50]), None);
    assert_eq!(shrunk(vec![(0, vec![1.0, 2.0]); 50]), None);
    assert_eq!(shrunk(vec![(0, vec![1.0; FULL_MAX + 1]); 50]), None);
    assert_eq!(shrunk(vec![(0, vec![1.0; DIMENSIONS_MAX + 1]); 20]), None);
    assert_eq!(Gaussians::learn(rows(50, 3), &Ridge::Errors(vec![0.1; 2])), None);
    let mut uneven = rows(50, 3);
    uneven[7].1.pop();
    assert_eq!(shrunk(uneven), None);
    let mut infinite = rows(50, 3);
    infinite[7].1[0] = f64::INFINITY;
    assert_eq!(shrunk(infinite), None);
}

#[test]
fn a_vector_of_another_length_or_not_finite_is_not_measured() {
    let learnt = shrunk(rows(200, 3)).unwrap();
    for vector in [&[][..], &[0.0; 2], &[0.0; 4], &[0.0, f64::NAN, 0.0], &[f64::INFINITY, 0.0, 0.0]] {
        assert_eq!(learnt.distance(vector), None);
    }
    assert!(learnt.distance_of_known(&[0.0, f64::NAN, 0.0]).is_some());
    assert_eq!(learnt.distance_of_known(&[f64::INFINITY, 0.0, 0.0]), None);
}

#[test]
fn numbers_that_were_tampered_with_are_not_sound() {
    let learnt = shrunk(rows(200, 3)).unwrap();
    assert!(learnt.is_sound(3) && !learnt.is_sound(2) && !learnt.is_sound(0));
    for change in [
        |g: &mut Gaussians| g.mean[1] = f64::NAN,
        |g: &mut Gaussians| g.centres.clear(),
        |g: &mut Gaussians| g.centres[1][0] = f64::INFINITY,
        |g: &mut Gaussians| g.centres[0].truncate(2),
        |g: &mut Gaussians| g.whitening = Whitening::Full(vec![vec![1.0]; 3]),
        |g: &mut Gaussians| {
            g.whitening = Whitening::Full(vec![vec![1.0], vec![0.0, 1.0], vec![0.0, 0.0, -1.0]]);
        },
        |g: &mut Gaussians| g.whitening = Whitening::Diagonal(vec![1.0, 0.0, 1.0]),
        |g: &mut Gaussians| g.whitening = Whitening::Diagonal(vec![1.0; 2]),
    ] {
        let mut other = learnt.clone();
        change(&mut other);
        assert!(!other.is_sound(3));
    }
}

#[test]
fn distances_are_those_of_scikit_learn() {
    // numpy on the same rows: (1 - s) S + s mean(diag S) I with s the larger of 0.75 and that of
    // sklearn.covariance.ledoit_wolf(assume_centered=True) 1.9.1, here 0.39 and 0.01.
    for (n, dimensions, wanted) in [
        (40, 6, [0.166_182_841_845_833_54, 72.965_753_175_738_8, 49.982_397_299_723_985]),
        (400, 3, [0.019_205_252_741_844_116, 34.303_671_191_353_06, 4.053_671_286_783_629]),
    ] {
        let learnt = shrunk(rows(n, dimensions)).unwrap();
        let steps = (0..dimensions).map(|i| 0.25 * as_f64(i)).collect();
        for (vector, wanted) in [vec![0.0; dimensions], vec![1.0; dimensions], steps].into_iter().zip(wanted)
        {
            let found = learnt.distance(&vector).unwrap();
            assert!((found / wanted - 1.0).abs() < 1e-9, "{found} {wanted}");
        }
    }
}

#[test]
fn rows_that_were_learnt_are_as_far_as_they_have_dimensions_on_average() {
    // The mean of x' S^-1 x over the rows that S is the covariance of is their number of dimensions.
    for dimensions in [1_u8, 7, 8, 9, 20, 33] {
        let mean_of = f64::from(dimensions);
        let dimensions = usize::from(dimensions);
        let rows: Vec<_> = rows(400, dimensions).into_iter().map(|(_, row)| (0, row)).collect();
        let errors = Ridge::Errors(vec![0.0; dimensions]);
        let learnt = Gaussians::learn(rows.clone(), &errors).unwrap();
        let sum: f64 = rows.iter().map(|(_, row)| learnt.distance(row).unwrap()).sum();
        let mean = sum / 400.0 / mean_of;
        assert!((0.97..=1.0).contains(&mean), "{dimensions}: {mean}");
    }
}

#[test]
fn a_broken_relation_tells_more_when_errors_are_known_to_be_small() {
    let measured = Gaussians::learn(rows(400, 3), &Ridge::Errors(vec![0.0; 3])).unwrap();
    let rough = Gaussians::learn(rows(30, 3), &Ridge::Errors(vec![5.0; 3])).unwrap();
    // The second column follows the first to within 0.05.
    let broken = [0.0, 0.3, 0.0];
    assert!(measured.distance(&broken).unwrap() > 20.0);
    assert!(rough.distance(&broken).unwrap() < 1.0);
}

#[test]
fn beyond_512_dimensions_only_variances_count() {
    let learnt = shrunk(rows(60, FULL_MAX + 1)).unwrap();
    assert!(matches!(learnt.whitening, Whitening::Diagonal(_)));
    let mean = learnt.mean.clone();
    let mut far = mean.clone();
    far[FULL_MAX] += 1.0;
    assert!(learnt.distance(&far).unwrap() > learnt.distance(&mean).unwrap() + 5.0);
}

#[test]
fn a_missing_element_is_taken_for_its_mean_and_learnt_from_the_present() {
    let mut gaps = rows(200, 3);
    gaps.iter_mut().step_by(3).for_each(|(_, row)| row[2] = f64::NAN);
    let learnt = shrunk(gaps).unwrap();
    let with_mean = [0.2, 0.2, learnt.mean[2]];
    assert_eq!(learnt.distance_of_known(&[0.2, 0.2, f64::NAN]), learnt.distance(&with_mean));
}

#[test]
fn neither_debug_nor_an_error_shows_a_number() {
    assert_eq!(format!("{:?}", shrunk(rows(200, 3)).unwrap()), "Gaussians(2 x 3)");
}

proptest::proptest! {
    #[test]
    fn distance_is_finite_and_grows_on_the_way_out(
        direction in proptest::collection::vec(-1.0_f64..1.0, 4), near in 10.0_f64..50.0, more in 0.0_f64..50.0,
    ) {
        let mut one = rows(100, 4);
        for (class, _) in &mut one {
        *class = 0;
    }
        let learnt = shrunk(one).unwrap();
        let at = |steps: f64| {
            let vector: Vec<f64> =
                learnt.mean.iter().zip(&direction).map(|(mean, step)| mean + steps * step).collect();
            learnt.distance(&vector).unwrap()
        };
        proptest::prop_assert!(at(0.0) < 1e-18 && at(near).is_finite());
        proptest::prop_assert!(at(near) <= at(near + more) + 1e-9);
    }

    #[test]
    fn the_factor_times_itself_is_the_matrix_and_its_inverse_undoes_it(
        entries in proptest::collection::vec(-1.0_f64..1.0, 16),
    ) {
        // B B' + 0.1 I is positive definite.
        let b = |i: usize| &entries[4 * i..4 * i + 4];
        let entry = |i: usize, j: usize| dot(b(i), b(j)) + if i == j { 0.1 } else { 0.0 };
        let lower: Vec<Vec<f64>> = (0..4).map(|i| (0..=i).map(|j| entry(i, j)).collect()).collect();
        let factor = cholesky(&lower).unwrap();
        let inverse = inverse(&factor).unwrap();
        for i in 0..4 {
            for j in 0..=i {
                let product = dot(&factor[i][..=j], &factor[j]);
                proptest::prop_assert!((product - lower[i][j]).abs() < 1e-12);
                let unit: f64 = (j..=i).map(|k| inverse[i][k] * factor[k][j]).sum();
                proptest::prop_assert!((unit - f64::from(u8::from(i == j))).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn what_is_not_positive_definite_has_no_factor() {
    assert_eq!(cholesky(&[vec![1.0], vec![2.0, 1.0]]), None);
    assert_eq!(cholesky(&[vec![0.0]]), None);
    assert_eq!(cholesky(&[vec![f64::NAN]]), None);
}
