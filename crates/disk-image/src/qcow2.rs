//! QEMU's format qcow2, version 3 (QEMU, docs/interop/qcow2.rst): only clusters that were written take up room in the file.
//! Numbers are big-endian.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek, SeekFrom, Write},
};

/// The size of a cluster, in bytes.
pub const CLUSTER_BYTES: usize = 1 << 16;

const CLUSTER: u64 = CLUSTER_BYTES as u64;

/// Number of entries in a second-level table, which gives the places of the disk's clusters: one cluster of 8-byte numbers.
const L2_ENTRIES: u64 = CLUSTER / 8;

/// Number of clusters of the file that a block of reference counts covers: one cluster of 2-byte numbers.
const COUNTS: u64 = CLUSTER / 2;

/// This bit of a table's entry says that the cluster is used only once.
const COPIED: u64 = 1 << 63;

/// Where the clusters of a disk are in its file.
pub struct Qcow2 {
    /// The second-level tables that have entries, by their index in the first-level table.
    tables: BTreeMap<u64, Vec<u64>>,
    /// Number of clusters in the file.
    clusters: u64,
}

impl Qcow2 {
    /// An empty disk. The first cluster of the file is for the header.
    pub fn new() -> Self {
        Self { tables: BTreeMap::new(), clusters: 1 }
    }

    /// The position in the file of the cluster at an offset of the disk; allocates it if necessary.
    pub fn allocate(&mut self, offset_bytes: u64) -> u64 {
        let cluster = offset_bytes / CLUSTER;
        let table = self.tables.entry(cluster / L2_ENTRIES).or_insert_with(|| vec![0; L2_ENTRIES as usize]);
        let entry = &mut table[(cluster % L2_ENTRIES) as usize];
        if *entry == 0 {
            *entry = (self.clusters * CLUSTER) | COPIED;
            self.clusters += 1;
        }
        *entry & !COPIED
    }

    /// Writes everything but the disk's clusters.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(&self, file: &mut File, disk_bytes: u64) -> io::Result<()> {
        // After the disk's clusters come, in this order: the second-level tables, the first-level table, the reference count
        // table, and the reference count blocks, which cover all of these.
        let l1_entries = disk_bytes.div_ceil(CLUSTER * L2_ENTRIES);
        let l2_start = self.clusters;
        let l1_start = l2_start + self.tables.len() as u64;
        let count_table_start = l1_start + (l1_entries * 8).div_ceil(CLUSTER);
        let (mut count_table_clusters, mut count_blocks) = (1, 1);
        let clusters = loop {
            let clusters = count_table_start + count_table_clusters + count_blocks;
            let (more_blocks, more_clusters) =
                (clusters.div_ceil(COUNTS), (count_blocks * 8).div_ceil(CLUSTER));
            if (more_blocks, more_clusters) == (count_blocks, count_table_clusters) {
                break clusters;
            }
            (count_blocks, count_table_clusters) = (more_blocks, more_clusters);
        };
        let count_blocks_start = count_table_start + count_table_clusters;

        let mut write = |cluster: u64, numbers: &[u64]| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
            file.seek(SeekFrom::Start(cluster * CLUSTER))?;
            file.write_all(&bytes)
        };
        let mut l1 = vec![0; l1_entries as usize];
        for (place, (index, table)) in self.tables.iter().enumerate() {
            let cluster = l2_start + place as u64;
            write(cluster, table)?;
            l1[*index as usize] = (cluster * CLUSTER) | COPIED;
        }
        write(l1_start, &l1)?;
        let blocks: Vec<u64> =
            (0..count_blocks).map(|block| (count_blocks_start + block) * CLUSTER).collect();
        write(count_table_start, &blocks)?;

        let mut header = b"QFI\xfb".to_vec();
        let mut put =
            |number: u64, bytes: usize| header.extend_from_slice(&number.to_be_bytes()[8 - bytes..]);
        put(3, 4); // version
        put(0, 8); // offset of a backing file's name
        put(0, 4); // length of that name
        put(u64::from(CLUSTER_BYTES.trailing_zeros()), 4); // cluster size, as a power of 2
        put(disk_bytes, 8);
        put(0, 4); // no encryption
        put(l1_entries, 4);
        put(l1_start * CLUSTER, 8);
        put(count_table_start * CLUSTER, 8);
        put(count_table_clusters, 4);
        put(0, 4); // snapshots
        put(0, 8); // offset of the snapshots' table
        put(0, 8); // incompatible features
        put(0, 8); // compatible features
        put(0, 8); // features that may be cleared
        put(4, 4); // size of a reference count in bits, as a power of 2
        put(104, 4); // length of this header
        put(0, 8); // end of the header's extensions
        file.rewind()?;
        file.write_all(&header)?;

        // Every cluster is used once.
        file.seek(SeekFrom::Start(count_blocks_start * CLUSTER))?;
        let counts: Vec<u8> = (0..clusters).flat_map(|_| 1_u16.to_be_bytes()).collect();
        file.write_all(&counts)?;
        file.set_len(clusters * CLUSTER)
    }
}
