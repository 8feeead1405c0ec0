/**
 * What is to be done so that this copy knows what the others say. Of two versions that do not know of each other the later
 * one gets the name, and the copy that has the other does all there is to do: it keeps that one beside it.
 */
import { extname } from 'node:path'
import {
  type FileEntry,
  type FolderEntry,
  folderLimits,
  type GoneEntry,
  isFile,
  Names,
  parentsOf,
} from '../../market/folder.ts'
import type { LocalEntry } from '../home/folders.ts'
import type { Skipped } from './scan.ts'
import { joined, orderOf } from './versions.ts'

/** Deletions are forgotten after this; a copy that was away for longer brings the file back. */
const goneMs = 180 * 86_400_000

/** Forgets deletions after that time, and the oldest of them where all entries are more than others take of a list. */
export function forgetOld(index: Map<string, LocalEntry>, nowMs: number): void {
  const gone = [...index.values()].flatMap(({ entry }) => (isFile(entry) ? [] : [entry]))
  gone.sort((a, b) => a.deletedMs - b.deletedMs || (a.path < b.path ? -1 : 1))
  const over = index.size - folderLimits.entries
  for (const [rank, { path, deletedMs }] of gone.entries())
    if (rank < over || deletedMs + goneMs < nowMs) index.delete(path)
}

export type Step =
  /** Only known; nothing on disk changes. */
  | { readonly do: 'know'; readonly entry: FolderEntry }
  | { readonly do: 'take'; readonly entry: FileEntry; readonly keepAs?: string }
  | { readonly do: 'remove'; readonly entry: GoneEntry }

export interface Merged {
  readonly steps: readonly Step[]
  readonly skipped: readonly Skipped[]
}

export function merge(
  index: ReadonlyMap<string, LocalEntry>,
  others: readonly (readonly FolderEntry[])[],
  nowMs: number,
): Merged {
  const names = new Names()
  for (const { entry } of index.values()) if (isFile(entry)) names.add(entry.path)
  const steps: Step[] = []
  const skipped: Skipped[] = []
  for (const theirs of newest(others).values()) {
    const step = stepFor(index.get(theirs.path)?.entry, theirs, nowMs)
    if (step?.do !== 'take') {
      if (step !== undefined) steps.push(step)
      continue
    }
    const same = names.clash(theirs.path)
    if (same !== undefined) {
      skipped.push({ path: theirs.path, reason: `some file systems take it for ${same}` })
      continue
    }
    names.add(theirs.path)
    steps.push(step)
  }
  return { steps: inOrder(steps), skipped }
}

/** What makes room for a file comes before, other deletions after: a file that was moved is still there to be read. */
function inOrder(steps: readonly Step[]): Step[] {
  const taken = steps.filter((step) => step.do === 'take').map(({ entry }) => entry.path)
  const [files, folders] = [new Set(taken), new Set(taken.flatMap(parentsOf))]
  const makesRoom = ({ path }: FolderEntry) =>
    folders.has(path) || parentsOf(path).some((parent) => files.has(parent))
  const rank = (step: Step) => (step.do === 'take' ? 1 : step.do === 'know' || makesRoom(step.entry) ? 0 : 2)
  return [...steps].sort((a, b) => rank(a) - rank(b))
}

/** Of each path what the others know best. */
function newest(others: readonly (readonly FolderEntry[])[]): Map<string, FolderEntry> {
  const best = new Map<string, FolderEntry>()
  for (const entries of others) {
    for (const entry of entries) {
      const held = best.get(entry.path)
      if (held === undefined || isOver(entry, held)) best.set(entry.path, entry)
    }
  }
  return best
}

function isOver(one: FolderEntry, other: FolderEntry): boolean {
  const order = orderOf(one.version, other.version)
  return order === 'after' || (order === 'aside' && wins(one, other))
}

/** Between versions that do not know of each other: what is there before what is deleted, then the later one. */
function wins(one: FolderEntry, other: FolderEntry): boolean {
  if (!isFile(one) || !isFile(other)) return isFile(one)
  if (one.modifiedMs !== other.modifiedMs) return one.modifiedMs > other.modifiedMs
  return one.sha256 > other.sha256
}

function stepFor(mine: FolderEntry | undefined, theirs: FolderEntry, nowMs: number): Step | undefined {
  if (mine === undefined) {
    if (isFile(theirs)) return { do: 'take', entry: theirs }
    return theirs.deletedMs + goneMs > nowMs ? { do: 'know', entry: theirs } : undefined
  }
  const order = orderOf(mine.version, theirs.version)
  const version = joined(mine.version, theirs.version)
  const isSame = isFile(mine) ? isFile(theirs) && mine.sha256 === theirs.sha256 : !isFile(theirs)
  if (isSame)
    return order === 'before' || order === 'aside' ? { do: 'know', entry: { ...mine, version } } : undefined
  const isLost = order === 'before' || (order !== 'after' && wins(theirs, mine))
  if (!isLost) return undefined
  if (!isFile(theirs)) return { do: 'remove', entry: { ...theirs, version } }
  const isAside = order !== 'before' && isFile(mine)
  return { do: 'take', entry: { ...theirs, version }, ...(isAside && { keepAs: conflictPath(mine) }) }
}

/** `a/report.conflict-0123abcd.txt`: by what it says, so that it has one name wherever it is made. */
function conflictPath({ path, sha256 }: Pick<FileEntry, 'path' | 'sha256'>): string {
  const extension = extname(path)
  const stem = path.slice(0, path.length - extension.length)
  return `${stem}.conflict-${sha256.slice(0, 8)}${extension}`
}
