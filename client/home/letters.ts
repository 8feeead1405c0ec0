/** Texts we sent, kept as they were signed for as long as the home is: the outbox forgets what expired. */
import { z } from 'zod'
import { decodeRecord, type RecordId, type SealedRecord } from '../../market/record.ts'
import { codeOf } from '../errors.ts'
import { namesIn, readJson, readWhole, remove, writeDurably } from './durable.ts'
import type { Home } from './home.ts'

const SavedLetter = z.strictObject({ record: z.string() })
/** When the newest letter that was read of a conversation came here, unix milliseconds. */
const ReadMarks = z.record(z.string(), z.int().min(0))

export const keepLetter = (home: Home, { text, msg }: SealedRecord): Promise<void> =>
  writeDurably(fileOf(home, msg.request.recordId), JSON.stringify({ record: text }))

export const forgetLetter = (home: Home, id: RecordId): Promise<void> => remove(fileOf(home, id))

/** In no order. What is damaged is told to `onDamaged` and left out. */
export async function* sentLetters(
  home: Home,
  onDamaged: (error: Error) => void,
): AsyncGenerator<SealedRecord> {
  for (const name of (await namesIn(home.path('mail'))).filter((one) => one.endsWith('.json'))) {
    if (name === readName) continue
    const path = home.path('mail', name)
    try {
      const saved = await readJson(path, SavedLetter)
      if (saved !== undefined) yield readWhole(path, () => decodeRecord(saved.record))
    } catch (error) {
      if (codeOf(error) !== 'ERR_DAMAGED') throw error
      onDamaged(error as Error)
    }
  }
}

export const readMarks = async (home: Home): Promise<Record<string, number>> =>
  (await readJson(home.path('mail', readName), ReadMarks)) ?? {}

/** Everything of a conversation up to that time was read. */
export async function markRead(home: Home, conversation: string, ms: number): Promise<void> {
  await home.lock('mail', async () => {
    const marks = await readMarks(home)
    if ((marks[conversation] ?? 0) >= ms) return
    await writeDurably(home.path('mail', readName), JSON.stringify({ ...marks, [conversation]: ms }))
  })
}

const readName = 'read.json'
const fileOf = (home: Home, id: RecordId): string => home.path('mail', `${id}.json`)
