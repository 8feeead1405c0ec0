/**
 * Reads under way, on disk: a relay answers the same signed read again without counting it, so a client killed
 * between the answer and the inbox asks with the same words and the record's last pull is not lost (docs/protocol.md §4.3).
 */
import type { z } from 'zod'
import { Read } from '../../contracts/api.ts'
import { decode, messageSchema } from '../../market/envelope.ts'
import { protocolLimits } from '../../market/units.ts'
import type { ReadMemory, SealedRead } from '../wire/repeat.ts'
import { namesIn, readText, readWhole, remove, writeDurably } from './durable.ts'
import { hashOf, type Home } from './home.ts'

const ReadEnvelope = messageSchema(Read)

/** Kept in the home: atomic, but not fsynced, for it is kills that are frequent. */
export const homeReads = (home: Home): ReadMemory => ({
  recall: (relay, path) => readAt(fileOf(home, relay, path)),
  remember: ({ text, msg }) => writeDurably(fileOf(home, msg.to, msg.request.path), text, { sync: false }),
  forget: (relay, path) => remove(fileOf(home, relay, path)),
})

/** The paths asked of a relay that nobody has seen an answer to: the relay may not list them any more. */
export async function unfinishedReads(home: Home, relay: string): Promise<string[]> {
  const all = await Promise.all(
    (await namesIn(home.path('reads'))).map((name) => readAt(home.path('reads', name))),
  )
  return all.flatMap((read) => (read?.msg.to === relay ? [read.msg.request.path] : []))
}

/** Removes what no relay would recognise any more. */
export async function sweepReads(home: Home, now: number): Promise<void> {
  for (const name of await namesIn(home.path('reads'))) {
    const file = home.path('reads', name)
    const read = await readAt(file)
    if (read !== undefined && read.msg.timestamp + keptMs < now) await remove(file)
  }
}

/** Clocks of relays may be ten minutes off. */
const keptMs = 10 * protocolLimits.freshPastMs

async function readAt(file: string): Promise<SealedRead | undefined> {
  const text = await readText(file)
  return text === undefined
    ? undefined
    : readWhole(file, () => decode<z.infer<typeof Read>>(text, ReadEnvelope))
}

const fileOf = (home: Home, relay: string, path: string): string =>
  home.path('reads', `${hashOf(`${relay} ${path}`)}.json`)
