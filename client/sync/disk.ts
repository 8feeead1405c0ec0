/** The folder on disk, where others may be at work at the same time. */
import { lstat, mkdir, rmdir, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { isFile, parentsOf } from '../../market/folder.ts'
import { MarketError } from '../../market/errors.ts'
import { transferLimits } from '../files/transfer.ts'
import { ClientError } from '../errors.ts'
import { exists as isThere, isMissing } from '../home/durable.ts'
import type { LocalEntry } from '../home/folders.ts'

/** Where a file is to be, with its folders: never through a link that somebody laid. @throws ERR_CONFLICT */
export async function placeFor(directory: string, path: string, { isNew = true } = {}): Promise<string> {
  for (const parent of parentsOf(path)) {
    const folder = join(directory, parent)
    const found = await lstat(folder).catch(missing)
    if (found === undefined && isNew) await mkdir(folder).catch(ignoreExisting)
    else if (found !== undefined && !found.isDirectory())
      throw new MarketError('ERR_CONFLICT', `${parent} is no folder here`)
  }
  return join(directory, path)
}

/** @throws ERR_CHANGED when it is not what the folder was seen to hold: that is the next run's to look at */
export async function checkAsBefore(target: string, before: LocalEntry | undefined): Promise<void> {
  const now = await lstat(target).catch(missing)
  const wasFile = before !== undefined && isFile(before.entry)
  const isSame = now?.mtimeMs === before?.mtimeMs && now?.ctimeMs === before?.ctimeMs
  if (wasFile ? now !== undefined && !isSame : now !== undefined)
    throw new ClientError('ERR_CHANGED', 'it has just changed here')
}

/** Another file of the same folder was faster. */
const ignoreExisting = (error: unknown): void => {
  if (!isThere(error)) throw error
}

const missing = (error: unknown): undefined => {
  if (isMissing(error)) return undefined
  throw error
}
export const exists = async (path: string): Promise<boolean> =>
  (await lstat(path).catch(missing)) !== undefined

export async function statOf(path: string): Promise<Pick<LocalEntry, 'mtimeMs' | 'ctimeMs'>> {
  const { mtimeMs, ctimeMs } = await lstat(path)
  return { mtimeMs, ctimeMs }
}

/** Removes the folders that the file at `path` was the last in. */
export async function removeEmptied(directory: string, path: string): Promise<void> {
  for (const parent of parentsOf(path).reverse()) {
    const isEmptied = await rmdir(join(directory, parent)).then(
      () => true,
      () => false, // something is still in it
    )
    if (!isEmptied) return
  }
}

/** @throws ERR_NO_SPACE */
export async function checkRoom(folders: readonly string[], bytes: number): Promise<void> {
  for (const place of folders) {
    const { bavail, bsize } = await statfs(place)
    if (bavail * bsize - bytes < transferLimits.keepFreeBytes)
      throw new ClientError(
        'ERR_NO_SPACE',
        `the disk would have less than ${transferLimits.keepFreeBytes} bytes left`,
      )
  }
}
