/** Which records of ours are backups of the coins. */
import type { RecordId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Home } from './home.ts'
import { entries, recordOf } from './outbox.ts'
import { placedBackup } from './placed-backup.ts'

/** By it a recovery finds its backups. */
export const walletBackupTag = 'wallet-backup'

/** Every record that is known to hold or have held a backup of the coins of `owner`, whose home it is. */
export async function knownBackups(home: Home, owner: Key): Promise<ReadonlySet<RecordId>> {
  const placed = await placedBackup(home)
  const sent = await backupsInOutbox(home, { owner, isDeletedToo: true })
  return new Set([...(placed?.recordId ? [placed.recordId] : []), ...(placed?.former ?? []), ...sent])
}

/** Backups that were sent from here, also those that were interrupted before they were noted. */
export async function backupsInOutbox(
  home: Home,
  { owner, isDeletedToo = false }: { owner: Key; isDeletedToo?: boolean },
): Promise<RecordId[]> {
  const found: RecordId[] = []
  for (const entry of (await entries(home)).values()) {
    if (entry.to !== owner || (entry.deleted && !isDeletedToo)) continue
    const record = await recordOf(home, entry).catch(() => undefined) // damaged: the queue says so
    if (record?.msg.request.tag === walletBackupTag) found.push(entry.id)
  }
  return found
}
