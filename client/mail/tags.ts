/** Tags that say to the machines what a record is; relays list them, so nothing needs to be read to know. */
import { unackedTags } from '../../market/payload.ts'
import { walletBackupTag } from '../home/own-backups.ts'

export const ackTag = 'ack'
/** Chunks are read when the file they belong to is fetched, not when they are listed. */
export const chunkTag = 'chunk'
export const identityTag = 'identity'

/** Users cannot give these. */
export const reservedTags: readonly string[] = [...unackedTags, chunkTag, walletBackupTag]
