/** What the folder is now: files that look as they did are as they were, all others are read. */
import { createHash } from 'node:crypto'
import { lstat, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type FileEntry, folderLimits, isFile, Names, pathFault } from '../../market/folder.ts'
import { MarketError } from '../../market/errors.ts'
import type { Piece } from '../../market/payload.ts'
import { ClientError } from '../errors.ts'
import { isMissing, named } from '../home/durable.ts'
import type { LocalEntry } from '../home/folders.ts'
import { fileSizes, firstCut, hashHex } from './cut.ts'
import { changed } from './versions.ts'

/** Of the folder itself, for files that are not whole yet; never shared. */
export const workFolder = '.relay-sync'
/** So many files that vanish all at once are more likely a disk that is not there. */
const suspicious = 10

export interface Skipped {
  readonly path: string
  readonly reason: string
}

export interface Scan {
  readonly device: string
  /** The version of the folder that its changes will be part of. */
  readonly sequence: number
  readonly nowMs: number
  readonly signal?: AbortSignal | undefined
  readonly allowEmpty?: boolean | undefined
}

/**
 * Brings `index` up to what is on disk: new and changed files with their hashes, deletions as such. Links, devices and files
 * whose names not every system takes are not shared.
 * @throws ERR_NOT_FOUND, ERR_TOO_LARGE for too many files, ERR_CONFLICT where all files are gone
 */
export async function scan(
  directory: string,
  index: Map<string, LocalEntry>,
  options: Scan,
): Promise<Skipped[]> {
  const skipped: Skipped[] = []
  const found = await namedFiles(directory, index, skipped)
  const live = [...index.values()].filter(({ entry }) => isFile(entry)).length
  if (found.length === 0 && live > suspicious && !options.allowEmpty)
    throw new MarketError(
      'ERR_CONFLICT',
      `all ${live} files of ${directory} are gone: is it the right folder? (--allow-empty)`,
    )
  for (const path of found) {
    options.signal?.throwIfAborted()
    const before = index.get(path)
    const now = await look(join(directory, path), before).catch((error: unknown) => {
      if (!isMissing(error) && !unreadable(error)) throw error
      if (!isMissing(error)) skipped.push({ path, reason: 'it cannot be read' })
      return undefined
    })
    if (now === undefined) continue
    const isSame = before !== undefined && isFile(before.entry) && before.entry.sha256 === now.entry.sha256
    const version = isSame
      ? before.entry.version
      : changed(before?.entry.version, options.device, options.sequence)
    index.set(path, { ...now, entry: { ...now.entry, path, version } })
  }
  const there = new Set([...found, ...skipped.map(({ path }) => path)])
  for (const [path, { entry }] of index) {
    if (there.has(path) || !isFile(entry)) continue
    const version = changed(entry.version, options.device, options.sequence)
    index.set(path, { entry: { path, version, deletedMs: options.nowMs }, mtimeMs: 0, ctimeMs: 0 })
  }
  return skipped
}

/** Paths of all files that can be shared, in order. */
async function namedFiles(
  directory: string,
  index: ReadonlyMap<string, LocalEntry>,
  skipped: Skipped[],
): Promise<string[]> {
  const found: string[] = []
  const names = new Names()
  // What is shared already keeps its name.
  for (const { entry } of index.values()) if (isFile(entry)) names.add(entry.path)
  const walk = async (folder: string): Promise<void> => {
    const listed = await readdir(join(directory, folder), { withFileTypes: true })
    if (folder !== '' && listed.length === 0)
      skipped.push({ path: folder, reason: 'a folder without files is not shared' })
    for (const one of listed.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (folder === '' && one.name === workFolder) continue
      const path = folder === '' ? one.name : `${folder}/${one.name}`
      const same = names.clash(path)
      const fault =
        pathFault(path) ??
        (same === undefined ? undefined : `some file systems take it for ${same}`) ??
        (one.isFile() || one.isDirectory() ? undefined : 'it is neither file nor folder')
      if (fault !== undefined) {
        skipped.push({ path, reason: fault })
        continue
      }
      names.add(path)
      if (one.isDirectory()) await walk(path)
      else found.push(path)
      if (found.length > folderLimits.entries)
        throw new MarketError('ERR_TOO_LARGE', `a folder has at most ${folderLimits.entries} files`)
    }
  }
  await named(directory, walk(''))
  return found
}

/** A file as it is; undefined where nothing suggests that it is another than before. */
async function look(path: string, before: LocalEntry | undefined) {
  const { size, mtimeMs, ctimeMs } = await lstat(path)
  const isFileStill = before !== undefined && isFile(before.entry) && before.entry.size === size
  if (isFileStill && before.mtimeMs === mtimeMs && before.ctimeMs === ctimeMs) return undefined
  const read = await readPieces(path, size)
  const entry: Omit<FileEntry, 'path' | 'version'> = { ...read, modifiedMs: Math.max(0, Math.floor(mtimeMs)) }
  // What changed while it was read looks changed to the next scan.
  return { entry, mtimeMs, ctimeMs }
}

async function readPieces(
  path: string,
  expected: number,
): Promise<{ size: number; sha256: string; pieces: Piece[] }> {
  const blockBytes = Math.min(8 * fileSizes.most, expected + 1)
  const file = await open(path, 'r')
  try {
    const whole = createHash('sha256')
    const pieces: Piece[] = []
    let size = 0
    let held = new Uint8Array(0)
    for (let isEnd = false; ; ) {
      while (!isEnd && held.length < fileSizes.most) {
        const block = Buffer.allocUnsafe(blockBytes)
        const { bytesRead } = await file.read(block, 0, block.length)
        isEnd = bytesRead === 0
        if (!isEnd) held = Buffer.concat([held, block.subarray(0, bytesRead)])
      }
      if (held.length === 0) break
      const length = firstCut(held, fileSizes)
      const part = held.subarray(0, length)
      whole.update(part)
      pieces.push({ sha256: hashHex(part), length })
      size += length
      held = held.subarray(length)
    }
    return { size, sha256: whole.digest('hex'), pieces }
  } finally {
    await file.close()
  }
}

const unreadable = (error: unknown): boolean =>
  ['EACCES', 'EPERM', 'EIO'].includes((error as NodeJS.ErrnoException).code ?? '')

/** Exactly the bytes of a piece, as they were when the folder was looked at. @throws ERR_CHANGED */
export async function readPiece(
  path: string,
  offset: number,
  { length, sha256 }: Piece,
): Promise<Uint8Array> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new ClientError('ERR_CHANGED', `${path} changed while it was read`, cause)
  })
  try {
    const bytes = Buffer.alloc(length)
    const { bytesRead } = await file.read(bytes, 0, length, offset)
    if (bytesRead < length || hashHex(bytes) !== sha256)
      throw new ClientError('ERR_CHANGED', `${path} changed while it was read`)
    return bytes
  } finally {
    await file.close()
  }
}
