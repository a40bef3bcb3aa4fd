/**
 * What an answered write survives.
 *
 *   fsync    a power cut: its group is on the device
 *   wal      the end of the process: its group is in the page cache
 *   memory   nothing yet: it was checked and is in the group that fills, and goes the same way
 */
export type Durability = 'fsync' | 'wal' | 'memory';

/** How far a group of the log is taken before it is answered. */
export type LogDurability = Exclude<Durability, 'memory'>;

export const DURABILITIES: readonly Durability[] = ['fsync', 'wal', 'memory'];
