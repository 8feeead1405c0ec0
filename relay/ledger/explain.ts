/** The story of an account or of a record, in sentences. */
import type { Snapshot } from '../store/database.ts'

export interface Explained {
  readonly sentences: string[]
  /** Where the story goes on. */
  readonly next?: number
}

export async function explain(
  _snapshot: Snapshot,
  _options: { readonly about: string; readonly after: number; readonly limit: number },
): Promise<Explained> {
  await Promise.resolve()
  throw new Error('being written')
}
