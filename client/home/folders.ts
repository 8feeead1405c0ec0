/**
 * Folders that are kept in step, on disk. Of each, in `sync/ID`:
 *
 *   folder.json         which directory, with whom, how far its versions count
 *   index.json          the folder as we last saw it, file by file
 *   packs.jsonl         the records that carry its pieces, noted before they are sealed
 *   heard.json          the versions of the other copies, newest each, and what was read and is none
 *   heard-DEVICE.list   what that version says, as it came
 *   spool/HASH          a record's pieces, fetched and not yet in their files
 */
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { FolderEntry } from '../../market/folder.ts'
import { Folder } from '../../market/payload.ts'
import { RecordId } from '../../market/record.ts'
import { Hash, Key, Milliseconds } from '../../market/units.ts'
import {
  ensureDirectory,
  namesIn,
  openJournal,
  readBytes,
  readJournal,
  readJson,
  remove,
  writeDurably,
} from './durable.ts'
import { hashOf, type Home } from './home.ts'

const KeptFolder = z.strictObject({
  directory: z.string(),
  /** Ourselves, for our own devices. */
  peer: Key,
  name: z.string(),
  /** This copy. */
  device: z.string(),
  /** Of the newest version that may have left this machine. */
  sequence: z.int().min(0),
  /** Records that announce versions of this copy, newest last. */
  heads: z.array(RecordId),
  /** When the newest ends, and what it says without saying where. */
  until: z.number(),
  digest: z.string(),
})
export type KeptFolder = z.infer<typeof KeptFolder>

/** A file as it was when last looked at; times are those of the disk. */
const LocalEntry = z.strictObject({ entry: FolderEntry, mtimeMs: z.number(), ctimeMs: z.number() })
export type LocalEntry = z.infer<typeof LocalEntry>

const Pack = z.strictObject({
  id: RecordId,
  pieces: z.array(z.tuple([Hash, z.int().min(0), z.int().min(1)])),
})
/** A record of ours, and what it carries: hash, place and length of each piece. */
export type Pack = z.infer<typeof Pack>

const Heard = z.strictObject({
  /** Records that need not be read again. */
  seen: z.array(RecordId),
  copies: z.record(
    z.string(),
    z.strictObject({ head: Folder, recordId: RecordId, sentMs: Milliseconds, expires: z.number() }),
  ),
})
export type Heard = z.infer<typeof Heard>

/** One folder's place in the home. */
export type Place = { readonly home: Home; readonly id: string }

export const placeOf = (home: Home, { peer, name }: Pick<KeptFolder, 'peer' | 'name'>): Place => ({
  home,
  id: hashOf(`${peer} ${name}`).slice(0, 32),
})
export const lockOf = ({ id }: Place): string => `sync-${id}`
const at = ({ home, id }: Place, ...names: string[]): string => home.path('sync', id, ...names)

export async function keptFolders(home: Home): Promise<KeptFolder[]> {
  const all = (await namesIn(home.path('sync'))).map((id) => keptFolder({ home, id }))
  const found = (await Promise.all(all)).filter((one) => one !== undefined)
  return found.sort((a, b) => (a.directory < b.directory ? -1 : 1))
}

export const keptFolder = (place: Place): Promise<KeptFolder | undefined> =>
  readJson(at(place, 'folder.json'), KeptFolder)

export async function saveFolder(place: Place, folder: KeptFolder): Promise<void> {
  await ensureDirectory(at(place, 'spool'))
  await writeDurably(at(place, 'folder.json'), JSON.stringify(folder))
}

export const newDevice = (): string => randomBytes(8).toString('hex')

export async function readIndex(place: Place): Promise<Map<string, LocalEntry>> {
  const all = (await readJson(at(place, 'index.json'), z.array(LocalEntry))) ?? []
  return new Map(all.map((one) => [one.entry.path, one]))
}

export const saveIndex = (place: Place, index: ReadonlyMap<string, LocalEntry>): Promise<void> =>
  writeDurably(at(place, 'index.json'), JSON.stringify([...index.values()]))

export const readPacks = (place: Place): Promise<Pack[]> => readJournal(at(place, 'packs.jsonl'), Pack)

export const savePacks = (place: Place, packs: readonly Pack[]): Promise<void> =>
  writeDurably(at(place, 'packs.jsonl'), packs.map((pack) => `${JSON.stringify(pack)}\n`).join(''))

/** Once this resolves it is known what these records carry, whether or not they ever come to be. */
export async function notePacks(place: Place, packs: readonly Pack[]): Promise<void> {
  const journal = await openJournal(at(place, 'packs.jsonl'))
  try {
    await journal.appendFile(packs.map((pack) => `${JSON.stringify(pack)}\n`).join(''))
    await journal.sync()
  } finally {
    await journal.close()
  }
}

export const readHeard = async (place: Place): Promise<Heard> =>
  (await readJson(at(place, 'heard.json'), Heard)) ?? { seen: [], copies: {} }

export const saveHeard = (place: Place, heard: Heard): Promise<void> =>
  writeDurably(at(place, 'heard.json'), JSON.stringify(heard))

/** `device` is hexadecimal by its schema, so it is a file name. */
export const readList = (place: Place, device: string): Promise<Uint8Array | undefined> =>
  readBytes(at(place, `heard-${device}.list`))
export const saveList = (place: Place, device: string, bytes: Uint8Array): Promise<void> =>
  writeDurably(at(place, `heard-${device}.list`), bytes)

/** Named by a hash: the id is another's word. */
export const spooled = (place: Place, id: RecordId): Promise<Uint8Array | undefined> =>
  readBytes(at(place, 'spool', hashOf(id)))
export const spool = (place: Place, id: RecordId, bytes: Uint8Array): Promise<void> =>
  writeDurably(at(place, 'spool', hashOf(id)), bytes)
export const unspool = (place: Place, id: RecordId): Promise<void> => remove(at(place, 'spool', hashOf(id)))
export const spoolFolder = (place: Place): string => at(place, 'spool')
