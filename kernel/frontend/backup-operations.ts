/** What the admin API asks of whoever makes backups. */

export interface BackupOperations {
  /**
   * The pieces of a tar (backup/FORMAT.md) of everything acknowledged before the call, as of one
   * sequence. Throws RequestError: MKTS_OVERLOADED while another one is made; MKTS_BACKUP, which after
   * the first piece follows a last one that says so. Who does not want the rest must `return` it.
   */
  stream(): AsyncGenerator<Uint8Array>;
}
