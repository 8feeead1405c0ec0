/** What is known of a file on its way to us, and the name it gets when it is whole. */
import { link, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { z } from 'zod'
import { Address, formatAddress, type RelayAddress } from '../../market/address.ts'
import { safeName } from '../../market/payload.ts'
import { Path } from '../../market/record.ts'
import { ensureDirectory, exists, namesIn, readJson, remove, syncDirectory, writeDurably } from './durable.ts'
import { hashOf, type Home } from './home.ts'
import type { Message } from './inbox.ts'

const about = { path: Path, at: Address, name: z.string(), size: z.int().min(0) }
export const Incoming = z.discriminatedUnion('state', [
  z.strictObject({ state: z.literal('waiting'), ...about }),
  z.strictObject({ state: z.literal('saved'), ...about, file: z.string() }),
  z.strictObject({ state: z.literal('failed'), ...about, reason: z.string() }),
])
/** A file on its way to us, by the path of its `file` record. */
export type Incoming = z.infer<typeof Incoming>

/** Notes that a file is to be fetched. */
export async function expectFile(home: Home, { path, payload }: Message, at: RelayAddress): Promise<void> {
  if (payload.type !== 'file' || (await incoming(home, path)) !== undefined) return
  const { name, size } = payload
  await save(home, { state: 'waiting', path, at: formatAddress(at), name: safeName(name), size })
}

export const incoming = (home: Home, path: string): Promise<Incoming | undefined> =>
  readJson(fileOf(home, path, 'json'), Incoming)

/** The files that are neither here nor lost. */
export async function waitingFiles(home: Home): Promise<Incoming[]> {
  const names = (await namesIn(home.path('transfers'))).filter((name) => /^in-.*\.json$/.test(name))
  const all = await Promise.all(names.map((name) => readJson(home.path('transfers', name), Incoming)))
  return all.filter((transfer) => transfer?.state === 'waiting')
}

/** Gives a finished file its name, or the next free one: a hard link never replaces what is there. */
export async function giveName(
  home: Home,
  part: string,
  place: { readonly folder: string; readonly name: string },
): Promise<string> {
  const folder = home.path('files', place.folder)
  await ensureDirectory(folder)
  const safe = safeName(place.name)
  const extension = extname(safe)
  const stem = safe.slice(0, safe.length - extension.length)
  for (let count = 1; ; count++) {
    const path = join(folder, count === 1 ? safe : `${stem} (${count})${extension}`)
    try {
      await link(part, path)
    } catch (error) {
      if (!exists(error)) throw error
      // A kill between link and state: it is ours already.
      const [mine, there] = await Promise.all([stat(part), stat(path)])
      if (mine.ino !== there.ino || mine.dev !== there.dev) continue
    }
    await syncDirectory(folder)
    return path
  }
}

export async function finish(home: Home, transfer: Incoming): Promise<Incoming> {
  await save(home, transfer)
  await Promise.all([remove(fileOf(home, transfer.path, 'part')), remove(fileOf(home, transfer.path, 'log'))])
  return transfer
}

const save = (home: Home, transfer: Incoming): Promise<void> =>
  writeDurably(fileOf(home, transfer.path, 'json'), JSON.stringify(transfer))

export const fileOf = (home: Home, path: string, extension: string): string =>
  home.path('transfers', `in-${hashOf(path)}.${extension}`)
