/** A new data directory from a backup (backup.ts). The store in it is of a new epoch, for it may lack the end of the old one. */
import { access, mkdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { MarketError } from '../../market/errors.ts'
import {
  failed,
  hashOf,
  keyFile,
  partOf,
  storeFile,
  syncDirectory,
  walletFile,
  writeNewFile,
} from './backup.ts'
import { decodeOwnAdvert, ownAdvertRow } from './adverts.ts'
import { BackupReader } from './backup-file.ts'
import { stockRow } from './counters.ts'
import { type KeyValue, openDatabase } from './database.ts'
import { allContracts, metaKey } from './keys.ts'
import { type Meta, restoredMeta, writeMeta } from './meta.ts'
import { Counters, Newcomers, NumberRow, Totals } from './rows.ts'
import { decodeTariff, tariffRow } from './tariff.ts'

export interface RestoreOptions {
  /** The directory of the backup. */
  readonly backup: string
  /** The data directory, which must hold neither a store nor a key. */
  readonly data: string
  /** Nothing signed before is answered by the restored relay: it no longer knows what it answered. */
  readonly now: number
}

export interface Restored {
  readonly epoch: string
  /** When the backup was taken. What the relay acknowledged later is lost. */
  readonly takenAt: number
  readonly rows: number
  /**
   * Escrow contracts in it that were not over. What was signed for them after the backup is in the payment log alone, which
   * is in no backup.
   */
  readonly contracts: number
  /** Coins come with it: a relay recovers them when it starts (relay/lost-coins.ts). */
  readonly hasWallet: boolean
}

const storeDirectory = 'store'
const walletDirectory = 'wallet'
/** A store that is not whole yet. No relay looks for it by this name. */
const unfinished = 'store.restoring'

/**
 * Looks at the whole backup before it writes anything. The key comes last: a relay does not start on a store without
 * it, nor does what was left by an interrupted restore hinder the next.
 * @throws ERR_CONFLICT when there is a store or a key, ERR_NOT_FOUND without a backup, ERR_MALFORMED when it is damaged,
 * unfinished, of something else or of a newer version of this program.
 */
export async function restoreBackup({ backup, data, now }: RestoreOptions): Promise<Restored> {
  for (const name of [keyFile, storeDirectory, walletDirectory]) await refuseExisting(data, name)
  try {
    const [source, key, wallet] = await openBackup(backup)
    try {
      const building = join(data, unfinished)
      await mkdir(data, { recursive: true, mode: 0o700 })
      await clear(building)
      const { epoch, contracts } = await build(source, building, now)
      await rename(building, join(data, storeDirectory))
      await syncDirectory(data)
      await syncDirectory(dirname(data))
      if (wallet !== undefined) await writeWhole(join(data, walletFile), wallet)
      await writeWhole(join(data, keyFile), key)
      const { takenAt } = source.header
      return { epoch, takenAt, rows: source.rowCount, contracts, hasWallet: wallet !== undefined }
    } finally {
      await source.close()
    }
  } catch (cause) {
    throw failed(`the restore to ${data} failed`, cause)
  }
}

/** A backup all of which has been looked at, its key, and that of its coins. */
async function openBackup(backup: string): Promise<[BackupReader, key: Buffer, wallet: Buffer | undefined]> {
  const key = await readFile(join(backup, keyFile)).catch(absent(backup))
  const source = await BackupReader.open(join(backup, storeFile)).catch(absent(backup))
  try {
    await source.verify()
    const { header } = source
    if (hashOf(key) !== header.key) throw altered(join(backup, keyFile), 'the key')
    if (header.wallet === undefined) return [source, key, undefined]
    const wallet = await readFile(join(backup, walletFile)).catch(absent(backup))
    if (hashOf(wallet) !== header.wallet) throw altered(join(backup, walletFile), 'the wallet')
    return [source, key, wallet]
  } catch (error) {
    await source.close()
    throw error
  }
}

const altered = (path: string, what: string): MarketError =>
  new MarketError('ERR_MALFORMED', `${path} is not ${what} of this backup`, { extras: { reason: 'altered' } })

const absent =
  (backup: string) =>
  (cause: Error): never => {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
    throw new MarketError('ERR_NOT_FOUND', `there is no whole backup in ${backup}`, { cause })
  }

async function refuseExisting(data: string, name: string): Promise<void> {
  const exists = await access(join(data, name)).then(
    () => true,
    () => false,
  )
  if (!exists) return
  // Between its last two steps a restore leaves a store, which is whole, without its key.
  const advice =
    name !== storeDirectory ? '' : `, or if only its ${keyFile} is missing copy that from the backup`
  throw new MarketError('ERR_CONFLICT', `there is a ${name} in ${data} already: choose a new folder${advice}`)
}

/** Removes what an interrupted restore left, unless that goes on in another process. */
async function clear(building: string): Promise<void> {
  try {
    const database = await openDatabase(building)
    await database.close()
  } catch (error) {
    if (error instanceof MarketError && error.code === 'ERR_BUSY') throw error
  }
  await rm(building, { recursive: true, force: true })
}

/** The rows first, then what the store says of itself: without that it is not opened as one. */
async function build(
  source: BackupReader,
  directory: string,
  now: number,
): Promise<{ epoch: string; contracts: number }> {
  await mkdir(directory, { mode: 0o700 })
  const database = await openDatabase(directory)
  let [lastPlace, contracts] = [0, 0]
  let meta: Meta
  try {
    for await (const rows of source.rows()) {
      for (const row of rows) checkMetaRow(row)
      contracts += rows.filter(([key]) => key[0] === open.gte[0]).length
      const place = rows.find(([key]) => key.equals(placeKey))
      if (place !== undefined) lastPlace = NumberRow.decode(place[1]).value
      await database.write(rows.map(([key, value]) => ({ key, value })))
    }
    meta = restoredMeta(source.header.store, { now, lastPlace })
    await writeMeta(database, meta)
    await database.close()
  } catch (error) {
    await database.close()
    await rm(directory, { recursive: true, force: true })
    throw error
  }
  await syncDirectory(directory)
  return { epoch: meta.epoch, contracts }
}

const placeKey = metaKey('place')
const open = allContracts('n')

/** The rows without which a relay does not start; what it reads later of a forged backup, `relayd ledger check` finds. */
const metaRows: readonly [Buffer, (value: Buffer) => unknown][] = [
  [placeKey, NumberRow.decode],
  [metaKey('sweep'), NumberRow.decode],
  [metaKey('totals'), Totals.decode],
  [metaKey('newcomers'), Newcomers.decode],
  [stockRow, Counters.decode],
  [tariffRow, decodeTariff],
  [ownAdvertRow, decodeOwnAdvert],
]

function checkMetaRow([key, value]: KeyValue): void {
  if (key[0] !== placeKey[0]) return // of another table, as nearly all are
  const found = metaRows.find(([known]) => known.equals(key))
  try {
    found?.[1](value)
  } catch (cause) {
    const extras = { reason: 'altered' }
    throw new MarketError('ERR_MALFORMED', `its row ${key.toString('latin1')} does not decode`, {
      extras,
      cause,
    })
  }
}

async function writeWhole(path: string, bytes: Buffer): Promise<void> {
  await rm(partOf(path), { force: true }) // of an interrupted restore
  await writeNewFile(partOf(path), bytes)
  await rename(partOf(path), path)
  await syncDirectory(dirname(path))
}
