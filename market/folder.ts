/** What the list of a shared folder says, and what of it is believed (docs/protocol.md §5): it is the word of another. */
import { z } from 'zod'
import { utf8Length } from './bytes.ts'
import { MarketError } from './errors.ts'
import { Piece, safeName } from './payload.ts'
import { Hash, Milliseconds } from './units.ts'

export const folderLimits = {
  /** Files, and deletions that are remembered. */
  entries: 50_000,
  indexBytes: 24 * 1024 * 1024,
  pathBytes: 1024,
  depth: 32,
  fileBytes: 2 ** 40,
  /** Copies of one folder, and those that a version may name. */
  devices: 64,
} as const

/** Of copies that take part: those that changed the file, each with the version of the folder in which it last did. */
export const Version = z
  .array(z.tuple([z.string().regex(/^[0-9a-f]{16}$/), z.int().min(1)]))
  .min(1)
  .max(folderLimits.devices)
export type Version = z.infer<typeof Version>

const path = z.string().min(1).max(folderLimits.pathBytes)
export const FileEntry = z.object({
  path,
  version: Version,
  size: z.int().min(0).max(folderLimits.fileBytes),
  modifiedMs: Milliseconds,
  sha256: Hash,
  /** In order; of a file in one piece, that piece. */
  pieces: z.array(Piece),
})
export type FileEntry = z.infer<typeof FileEntry>
/** A file that was deleted. */
export const GoneEntry = z.object({ path, version: Version, deletedMs: Milliseconds })
export type GoneEntry = z.infer<typeof GoneEntry>
export const FolderEntry = z.union([FileEntry, GoneEntry])
export type FolderEntry = z.infer<typeof FolderEntry>

export const isFile = (entry: FolderEntry): entry is FileEntry => 'sha256' in entry

/** Folders that programs look into, the short name of one too: who may write there may have things done. */
const reserved = ['.git', 'git~1', '.relay-sync']

/** Why this is no path for a file of a shared folder on every system; undefined where it is one. */
export function pathFault(given: string): string | undefined {
  if (given === '' || given.startsWith('/') || /^[A-Za-z]:/.test(given)) return 'it is no relative path'
  if (utf8Length(given) > folderLimits.pathBytes) return 'it is too long'
  const parts = given.split('/')
  if (parts.length > folderLimits.depth) return 'it is too deep'
  for (const part of parts) {
    // Hidden files are files; otherwise a name that would have to be changed is refused.
    const plain = part.startsWith('.') ? part.slice(1) : part
    if (plain === '' || safeName(plain) !== plain || plain.startsWith('.')) return 'a name in it is not safe'
    if (reserved.includes(part.toLowerCase())) return `${part} is not shared`
  }
  return undefined
}

/** Paths of which no two are one for a file system that does not tell cases or compositions apart. */
export class Names {
  readonly #known = new Map<string, string>()

  add(path: string): void {
    for (const one of [...parentsOf(path), path]) this.#known.set(folded(one), one)
  }

  /** The other path that this one, or a folder on its way, would be taken for. */
  clash(path: string): string | undefined {
    return [...parentsOf(path), path]
      .map((one) => ({ one, same: this.#known.get(folded(one)) }))
      .find(({ one, same }) => same !== undefined && same !== one)?.same
  }
}

const folded = (path: string): string => path.normalize('NFC').toLowerCase()

/** @throws ERR_MALFORMED saying what nobody who means well would write */
export function checkEntries(entries: readonly FolderEntry[]): void {
  const seen = new Set<string>()
  const names = new Names()
  const files = new Set<string>()
  for (const entry of entries) {
    const fault = pathFault(entry.path) ?? (seen.has(entry.path) ? 'it is named twice' : undefined)
    if (fault !== undefined) throw refused(entry.path, fault)
    seen.add(entry.path)
    if (!isFile(entry)) continue
    const same = names.clash(entry.path)
    if (same !== undefined) throw refused(entry.path, `some file systems take it for ${same}`)
    names.add(entry.path)
    files.add(entry.path)
    if (entry.pieces.reduce((sum, { length }) => sum + length, 0) !== entry.size)
      throw refused(entry.path, 'its pieces are not its size')
  }
  for (const path of files)
    for (const parent of parentsOf(path))
      if (files.has(parent)) throw refused(path, `${parent} is a file and a folder`)
}

/** `a`, `a/b` of `a/b/c`. */
export function parentsOf(path: string): string[] {
  const parts = path.split('/')
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'))
}

const refused = (path: string, why: string): MarketError =>
  new MarketError('ERR_MALFORMED', `the folder names ${JSON.stringify(path.slice(0, 200))}: ${why}`)

/** The text of a list: an entry a line, by path, so that a change of one is a change of one place. */
export const formatEntries = (entries: readonly FolderEntry[]): string =>
  [...entries]
    .sort((a, b) => (a.path < b.path ? -1 : 1))
    .map((entry) => `${JSON.stringify(inOrder(entry))}\n`)
    .join('')

/** The same is always written the same, or it would travel again. */
function inOrder(entry: FolderEntry): FolderEntry {
  const { path, version } = entry
  if (!isFile(entry)) return { path, version, deletedMs: entry.deletedMs }
  const { size, modifiedMs, sha256 } = entry
  const pieces = entry.pieces.map(({ sha256, length, at, offset }) => ({ sha256, length, at, offset }))
  return { path, version, size, modifiedMs, sha256, pieces }
}

/** @throws ERR_MALFORMED */
export function parseEntries(text: string): FolderEntry[] {
  const lines = text.split('\n')
  if (lines.pop() !== '') throw new MarketError('ERR_MALFORMED', 'the list of the folder is cut off')
  if (lines.length > folderLimits.entries)
    throw new MarketError('ERR_MALFORMED', `the folder has more than ${folderLimits.entries} entries`)
  const entries = lines.map(parseEntry)
  checkEntries(entries)
  return entries
}

function parseEntry(line: string): FolderEntry {
  try {
    return FolderEntry.parse(JSON.parse(line))
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', 'the list of the folder is not one', { cause })
  }
}
