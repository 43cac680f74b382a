//! The Merkle tree of RFC 6962, section 2: `SHA-256(0x00 ‖ data)` for a leaf, `SHA-256(0x01 ‖ left ‖
//! right)` above.
//!
//! The tree is never held in memory. Whoever keeps it keeps the leaves' hashes (level 0) and the
//! roots of complete subtrees of 256, 256², … leaves (levels 1, 2, …), and gives ranges of them to
//! [`root`] and [`inclusion`].

use matrix_core::Digest;

/// Each level stands for this power of two of the one below: 256.
pub const TILE_HEIGHT: u32 = 8;

/// Nodes of the level below that one stored node stands for.
pub const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// No path is longer: the tree has at most 2^63 leaves.
pub const PATH_MAX: usize = 63;

/// A range of stored nodes of one level, all of which exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nodes {
    /// 0 for leaves' hashes; each level above stands for 256 nodes of the one below.
    pub level: u32,
    /// The first node's position in its level.
    pub first: u64,
    /// How many: a power of two, at most 256.
    pub count: u64,
}

/// The hash of a leaf.
pub fn leaf(data: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], data])
}

/// The hash of a node above two.
pub fn node(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The root of the leaves `from..to`, where `from` is a multiple of the largest power of two up to
/// their number, as it is for every subtree. `read` gives stored nodes.
pub fn root<E>(
    from: u64,
    to: u64,
    read: &mut dyn FnMut(Nodes) -> Result<Vec<Digest>, E>,
) -> Result<Digest, E> {
    let size = to.saturating_sub(from);
    if size == 0 {
        return Ok(Digest::of(b""));
    }
    if size.is_power_of_two() {
        let height = size.trailing_zeros();
        let level = height / TILE_HEIGHT;
        let nodes = Nodes {
            level,
            first: from >> (level * TILE_HEIGHT),
            count: 1 << (height % TILE_HEIGHT),
        };
        return Ok(fold(read(nodes)?));
    }
    let middle = from + split(size);
    let left = root(from, middle, read)?;
    Ok(node(&left, &root(middle, to, read)?))
}

/// The root of a complete subtree from the nodes of one of its levels, a power of two of them.
pub fn fold(mut nodes: Vec<Digest>) -> Digest {
    while nodes.len() > 1 {
        nodes = nodes
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node(left, right),
                [single] => *single,
                _ => Digest::of(b""),
            })
            .collect();
    }
    nodes.into_iter().next().unwrap_or_else(|| Digest::of(b""))
}

/// The audit path of RFC 6962, section 2.1.1: the siblings from the leaf up to the root.
pub fn inclusion<E>(
    index: u64,
    size: u64,
    read: &mut dyn FnMut(Nodes) -> Result<Vec<Digest>, E>,
) -> Result<Vec<Digest>, E> {
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    while to - from > 1 && (from..to).contains(&index) {
        let middle = from + split(to - from);
        if index < middle {
            path.push(root(middle, to, read)?);
            to = middle;
        } else {
            path.push(root(from, middle, read)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The root that a leaf's hash and its audit path lead to, or nothing if the path does not fit the
/// place (RFC 9162, section 2.1.3.2).
pub fn climb(leaf: Digest, index: u64, size: u64, path: &[Digest]) -> Option<Digest> {
    if index >= size {
        return None;
    }
    let (mut place, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if place & 1 == 1 || place == last {
            hash = node(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// A tree that grows at its end and remembers only what its root needs.
#[derive(Debug, Clone, Default)]
pub struct Frontier {
    size: u64,
    /// Roots of complete subtrees, the largest first: one for each bit of the size.
    subtrees: Vec<Digest>,
}

impl Frontier {
    /// How many leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf's hash.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                hash = node(&left, &hash);
            }
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    /// The root over all leaves.
    pub fn root(&self) -> Digest {
        let mut subtrees = self.subtrees.iter().rev().copied();
        let Some(last) = subtrees.next() else {
            return Digest::of(b"");
        };
        subtrees.fold(last, |right, left| node(&left, &right))
    }
}

/// The largest power of two below a size of at least two.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn leaves(count: u64) -> Vec<Digest> {
        (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
    }

    /// What a keeper of the tree would read, computed from the leaves.
    fn reader(leaves: &[Digest]) -> impl FnMut(Nodes) -> Result<Vec<Digest>, Infallible> + '_ {
        |nodes| {
            let width = 1_u64 << (nodes.level * TILE_HEIGHT);
            let at = |position: u64| {
                let from = usize::try_from(position * width).unwrap();
                fold(leaves[from..from + usize::try_from(width).unwrap()].to_vec())
            };
            Ok((nodes.first..nodes.first + nodes.count).map(at).collect())
        }
    }

    #[test]
    fn the_empty_tree_and_the_first_trees_have_the_roots_of_the_rfc() {
        // Test vectors of the certificate transparency reference implementation.
        let data: [&[u8]; 3] = [b"", &[0x00], &[0x10]];
        let leaves: Vec<_> = data.iter().map(|data| leaf(data)).collect();
        let expected = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        ];
        for (size, expected) in (0_u64..).zip(expected) {
            let Ok(root) = root(0, size, &mut reader(&leaves));
            assert_eq!(root.to_string(), expected, "{size} leaves");
        }
    }

    proptest! {
        #[test]
        fn every_leaf_is_proven_and_no_other_is(size in 1_u64..700, index: u64, other: u64) {
            let (index, leaves) = (index % size, leaves(size));
            let Ok(top) = root(0, size, &mut reader(&leaves));
            let mut frontier = Frontier::default();
            for leaf in &leaves {
        frontier.push(*leaf);
    }
            prop_assert_eq!(frontier.root(), top);
            let Ok(path) = inclusion(index, size, &mut reader(&leaves));
            let here = leaves[usize::try_from(index).unwrap()];
            prop_assert_eq!(climb(here, index, size, &path), Some(top));
            let other = other % size;
            if other != index {
                prop_assert_ne!(climb(here, other, size, &path), Some(top));
            }
            prop_assert_ne!(climb(leaf(b"another"), index, size, &path), Some(top));
            if let Some((_, shorter)) = path.split_last() {
                prop_assert_ne!(climb(here, index, size, shorter), Some(top));
            }
        }

        #[test]
        fn no_path_makes_the_climb_panic(index: u64, size: u64, length in 0_usize..80) {
            climb(leaf(b""), index, size, &vec![leaf(b"x"); length]);
        }
    }
}
