/** Coins of which only a backup is left: of a relay that was restored, or whose folder `wallet` was lost. */
import { readBackupFile } from '../contracts/wallet/backup/backup.ts'
import type { Desk } from '../contracts/wallet/desk.ts'
import type { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { exists, walletBackup } from './data-directory.ts'

/**
 * The newest backup of coins that are not here; undefined when there is nothing to recover. `isUnneeded` says that a restored
 * backup lies beside coins that are there.
 * @throws as `readBackupFile`: a backup of another network or key is not passed over
 */
export async function backupToRecover(
  desk: Desk,
  { data, keys, kept }: { data: string; keys: KeyWallet; kept: string | undefined },
): Promise<{ path: string | undefined; isUnneeded: boolean }> {
  const restored = walletBackup(data)
  const isRestored = await exists(restored)
  const under = desk.wallet.store.recovery()
  let newest: { path: string; taken: number } | undefined
  for (const path of [restored, kept]) {
    if (path === undefined || !(await exists(path))) continue
    const { header } = await readBackupFile(path, { keys, network: desk.network })
    // One that is under way goes on, with the same backup and no other.
    if (under !== undefined && under.sequence === header.sequence) return { path, isUnneeded: false }
    const isWorthIt = path === restored || Object.values(header.counts).some((count) => count > 0)
    if (isWorthIt && header.taken > (newest?.taken ?? -1)) newest = { path, taken: header.taken }
  }
  if (isEmpty(desk)) return { path: newest?.path, isUnneeded: false }
  return { path: undefined, isUnneeded: isRestored }
}

function isEmpty({ wallet: { store } }: Desk): boolean {
  return store.counter('action') === 0 && store.counter('coin') === 0 && store.place() === undefined
}
