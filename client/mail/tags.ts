/** Tags that say to the machines what a record is; relays list them, so nothing needs to be read to know. */
export const ackTag = 'ack'
/** Chunks are read when the file they belong to is fetched, not when they are listed. */
export const chunkTag = 'chunk'
export const identityTag = 'identity'
/** By it a recovery finds its backups. */
export const walletBackupTag = 'wallet-backup'

/** Records so tagged are never acked, or two clients would thank each other for ever (docs/protocol.md §5). */
export const unackedTags: readonly string[] = [ackTag, identityTag, 'contract', 'notice']

/** Users cannot give these. */
export const reservedTags: readonly string[] = [...unackedTags, chunkTag, walletBackupTag]
