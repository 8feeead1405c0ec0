/** Tags that say to the machines what a record is; relays list them, so nothing needs to be read to know. */
import { unackedTags } from '../../market/payload.ts'
import { walletBackupTag } from '../home/own-backups.ts'

export const ackTag = 'ack'
/** Chunks are read when the file they belong to is fetched, not when they are listed. */
export const chunkTag = 'chunk'
export const identityTag = 'identity'

/** Users cannot give these. */
export const reservedTags: readonly string[] = [...unackedTags, chunkTag, walletBackupTag]

/** Versions of a shared folder, each folder with a tag of its own: they are read when it is brought in step. */
export const folderTag = (id: string): string => `folder-${id}`
export const isFolderTag = (tag: string): boolean => /^folder-[0-9a-f]{16}$/.test(tag)
