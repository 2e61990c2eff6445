//! Groups of vectors that lie close together.

use anabranch_engine::backend::Vector;
use hdbscan::{Hdbscan, HdbscanHyperParams, NnAlgorithm};

use crate::passage::cosine;

/// Most rounds in which the parts of a group that is too large are moved.
const ROUNDS_MAX: usize = 25;

/// A group of vectors, by their places, and the direction in which its mean lies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) places: Vec<usize>,
    pub(crate) centre: Vector,
}

impl Group {
    fn of(vectors: &[Vector], places: Vec<usize>) -> Self {
        let centre = mean(places.iter().filter_map(|place| vectors.get(*place)));
        Self { places, centre }
    }
}

/// The groups of the vectors, each place in exactly one, by their first places: dense regions of at least `least`
/// vectors, those of more than `most` cut in parts. Vectors outside every region belong to the nearest.
pub(crate) fn groups(vectors: &[Vector], least: usize, most: usize) -> Vec<Group> {
    let mut found: Vec<Group> =
        regions(vectors, least).into_iter().map(|places| Group::of(vectors, places)).collect();
    if found.is_empty() {
        found.push(Group::of(vectors, (0..vectors.len()).collect()));
    } else {
        adopt(vectors, &mut found);
    }
    let mut parts: Vec<Group> = found.into_iter().flat_map(|group| cut(vectors, group, most)).collect();
    parts.retain(|group| !group.places.is_empty());
    parts.sort_by_key(|group| group.places.first().copied());
    parts
}

/// The places of each dense region, ascending.
fn regions(vectors: &[Vector], least: usize) -> Vec<Vec<usize>> {
    // With fewer than two regions could need there is nothing to tell apart.
    if vectors.len() < 2 * least {
        return Vec::new();
    }
    let points: Vec<Vec<f32>> = vectors.iter().map(|vector| vector.to_vec()).collect();
    let settings = HdbscanHyperParams::builder()
        .min_cluster_size(least.max(2))
        .nn_algorithm(NnAlgorithm::BruteForce)
        .build();
    let labels = Hdbscan::new(&points, settings).cluster().unwrap_or_default();
    let mut regions: Vec<Vec<usize>> = Vec::new();
    for (place, label) in labels.into_iter().enumerate() {
        // Noise is -1.
        let Ok(label) = usize::try_from(label) else { continue };
        if regions.len() <= label {
            regions.resize(label + 1, Vec::new());
        }
        if let Some(region) = regions.get_mut(label) {
            region.push(place);
        }
    }
    regions.retain(|region| !region.is_empty());
    regions
}

/// Gives every vector that no group has to the group with the nearest centre.
fn adopt(vectors: &[Vector], groups: &mut [Group]) {
    let centres: Vec<Vector> = groups.iter().map(|group| group.centre.clone()).collect();
    let mut has_group = vec![false; vectors.len()];
    for place in groups.iter().flat_map(|group| &group.places) {
        if let Some(has_group) = has_group.get_mut(*place) {
            *has_group = true;
        }
    }
    for (place, vector) in
        vectors.iter().enumerate().filter(|(place, _)| !has_group.get(*place).unwrap_or(&true))
    {
        if let Some(group) = groups.get_mut(nearest(&centres, vector)) {
            group.places.push(place);
        }
    }
    for group in groups {
        group.places.sort_unstable();
        *group = Group::of(vectors, std::mem::take(&mut group.places));
    }
}

/// The group, or its parts if it has more than `most` vectors: as many as are needed, and one.
fn cut(vectors: &[Vector], group: Group, most: usize) -> Vec<Group> {
    if group.places.len() <= most {
        return vec![group];
    }
    let n_parts = group.places.len() / most.max(1) + 1;
    let members: Vec<(usize, &Vector)> =
        group.places.iter().filter_map(|place| Some((*place, vectors.get(*place)?))).collect();
    // The first centre is the first vector, each further one the vector that is least like all centres so far.
    let mut centres: Vec<Vector> = members.first().map(|(_, vector)| (*vector).clone()).into_iter().collect();
    while centres.len() < n_parts {
        let likeness =
            |vector: &Vector| centres.iter().map(|centre| cosine(centre, vector)).fold(-1.0, f64::max);
        // Of equal ones the first.
        let farthest = members
            .iter()
            .map(|(_, vector)| (likeness(vector), *vector))
            .reduce(|best, next| if next.0 < best.0 { next } else { best });
        let Some((_, vector)) = farthest else { break };
        centres.push(vector.clone());
    }
    let mut of: Vec<usize> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let now: Vec<usize> = members.iter().map(|(_, vector)| nearest(&centres, vector)).collect();
        if now == of {
            break;
        }
        of = now;
        for (part, centre) in centres.iter_mut().enumerate() {
            let own = members.iter().zip(&of).filter(|(_, of)| **of == part).map(|((_, vector), _)| *vector);
            let moved = mean(own);
            if !moved.is_empty() {
                *centre = moved;
            }
        }
    }
    let part = |part: usize| {
        let own = members.iter().zip(&of).filter(move |(_, of)| **of == part).map(|((place, _), _)| *place);
        Group::of(vectors, own.collect())
    };
    (0..centres.len()).map(part).collect()
}

/// The position of the centre that is most like the vector; of equal ones the first.
fn nearest(centres: &[Vector], vector: &Vector) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, centre) in centres.iter().enumerate() {
        let likeness = cosine(centre, vector);
        if likeness > best.1 {
            best = (at, likeness);
        }
    }
    best.0
}

/// The direction of the mean, at unit length; empty if there are no vectors.
fn mean<'a>(vectors: impl Iterator<Item = &'a Vector>) -> Vector {
    let mut sum: Vec<f64> = Vec::new();
    for vector in vectors {
        sum.resize(sum.len().max(vector.len()), 0.0);
        for (sum, number) in sum.iter_mut().zip(vector.iter()) {
            *sum += f64::from(*number);
        }
    }
    let norm = sum.iter().map(|number| number * number).sum::<f64>().sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "a vector is of single precision")]
    let scaled = sum.iter().map(|number| if norm > 0.0 { (number / norm) as f32 } else { 0.0 });
    scaled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(degrees: f32) -> Vector {
        let radians = degrees.to_radians();
        [radians.cos(), radians.sin()].into()
    }

    fn places(groups: &[Group]) -> Vec<Vec<usize>> {
        groups.iter().map(|group| group.places.clone()).collect()
    }

    #[test]
    fn dense_regions_are_groups_and_what_lies_outside_goes_to_the_nearest() {
        let vectors: Vec<Vector> =
            [0.0, 90.0, 1.0, 91.0, 2.0, 92.0, 3.0, 93.0, 60.0].into_iter().map(at).collect();
        assert_eq!(places(&groups(&vectors, 3, 10)), [vec![0, 2, 4, 6], vec![1, 3, 5, 7, 8]]);
    }

    #[test]
    fn too_few_to_tell_apart_are_one_group() {
        let vectors: Vec<Vector> = [0.0, 90.0, 1.0].into_iter().map(at).collect();
        assert_eq!(places(&groups(&vectors, 3, 10)), [vec![0, 1, 2]]);
        assert!(groups(&[], 3, 10).is_empty());
    }

    #[test]
    fn a_group_that_is_too_large_is_cut_where_it_is_widest() {
        let vectors: Vec<Vector> = [0.0, 40.0, 1.0, 41.0].into_iter().map(at).collect();
        assert_eq!(places(&groups(&vectors, 10, 3)), [vec![0, 2], vec![1, 3]]);
    }

    proptest! {
        #[test]
        fn every_vector_is_in_exactly_one_group(
            degrees in prop::collection::vec(0.0..180.0_f32, 0..40), least in 2_usize..8, most in 2_usize..20,
        ) {
            let vectors: Vec<Vector> = degrees.into_iter().map(at).collect();
            let found = groups(&vectors, least, most);
            let mut all: Vec<usize> = found.iter().flat_map(|group| group.places.clone()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..vectors.len()).collect::<Vec<_>>());
            prop_assert_eq!(places(&groups(&vectors, least, most)), places(&found));
        }
    }
}
