/** Small files that are whole or absent, whatever dies when: temporary file, fsync, rename, fsync of the directory. */
import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { z } from 'zod'
import { firstIssue } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { ClientError, messageOf } from '../errors.ts'

/** Everything here is private to the user. */
const mode = 0o600

/**
 * Replaces `path` by `content` in one step. With `sync: false` it is still atomic, but a power failure (not a
 * kill) may undo it.
 */
export async function writeDurably(
  path: string,
  content: string | Uint8Array,
  { sync = true } = {},
): Promise<void> {
  // A leading dot, because no reader of a directory looks at such names.
  const temporary = join(
    dirname(path),
    `.${basename(path).slice(0, 100)}.${randomBytes(6).toString('hex')}.tmp`,
  )
  try {
    const file = await open(temporary, 'wx', mode)
    try {
      await file.writeFile(content)
      if (sync) await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  if (sync) await syncDirectory(dirname(path))
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

export async function ensureDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
}

/** The text of a file, undefined when there is none. */
export const readText = async (path: string): Promise<string | undefined> =>
  (await readBytes(path))?.toString()

/** The bytes of a file, undefined when there is none. */
export async function readBytes(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** @throws ERR_DAMAGED naming the file, when it is there but not what `schema` says. */
export async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await readText(path)
  if (text === undefined) return undefined
  const value = readWhole(path, () => JSON.parse(text) as unknown)
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw new ClientError('ERR_DAMAGED', `${path} is damaged: ${firstIssue(parsed.error)}`)
  return parsed.data
}

/** Runs a parser over what was read from `path`. @throws ERR_DAMAGED naming the file. */
export function readWhole<T>(path: string, parse: () => T): T {
  try {
    return parse()
  } catch (cause) {
    throw new ClientError('ERR_DAMAGED', `${path} is damaged: ${messageOf(cause)}`, cause)
  }
}

/** The names in a directory, without temporary files; empty when there is no such directory. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).filter((name) => !name.startsWith('.'))
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}

/** The objects of a journal, one JSON text per line. A last line without its end is an append that never happened. */
export async function readJournal<T>(path: string, schema: z.ZodType<T>): Promise<T[]> {
  const lines = ((await readText(path)) ?? '').split('\n').slice(0, -1)
  return lines.map((line) => readWhole(path, () => schema.parse(JSON.parse(line))))
}

/** Opens a journal for appending, cut back to its last whole line. */
export async function openJournal(path: string): Promise<FileHandle> {
  const text = await readText(path)
  const file = await open(path, 'a', mode)
  if (text !== undefined && !text.endsWith('\n'))
    await file.truncate(Buffer.byteLength(text.slice(0, text.lastIndexOf('\n') + 1)))
  return file
}

/** Passes on what was asked of a file the user named. @throws ERR_NOT_FOUND naming it when there is none */
export async function named<T>(path: string, asked: Promise<T>): Promise<T> {
  try {
    return await asked
  } catch (cause) {
    if (!isMissing(cause)) throw cause
    throw new MarketError('ERR_NOT_FOUND', `there is no ${path}`, { cause })
  }
}

export const remove = (path: string): Promise<void> => rm(path, { force: true })

export const isMissing = (error: unknown): boolean =>
  (error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'
export const exists = (error: unknown): boolean =>
  (error as NodeJS.ErrnoException | undefined)?.code === 'EEXIST'
