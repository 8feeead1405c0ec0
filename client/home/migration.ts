/** The migration from one relay to another that is under way, or was last: on disk before each of its steps. */
import { z } from 'zod'
import { Address } from '../../market/address.ts'
import { RecordId } from '../../market/record.ts'
import { Hash, Key, Milliseconds } from '../../market/units.ts'
import { readJson, writeDurably } from './durable.ts'
import type { Home } from './home.ts'

/** In this order. `meet`: friends are waited for; `leave`: the old relay goes off the list; `settle`: its money comes back. `stopped`: by the user. */
const migrationSteps = ['join', 'copy', 'meet', 'leave', 'settle', 'verify', 'done', 'stopped'] as const

/** Told of each kind at most; counted beyond. */
export const mostTold = 1000

const Problem = z.strictObject({ id: RecordId, code: z.string(), error: z.string() })

export const Migration = z.strictObject({
  from: Address,
  to: Address,
  startedMs: Milliseconds,
  /** Friends are waited for until then. */
  deadlineMs: Milliseconds,
  /** The most that the new relay may reserve for the copies, satoshi. */
  maxCost: z.int().min(0).nullable(),
  step: z.enum(migrationSteps),
  /** Whoever is to be seen on the new relay, with the record that waits there alone for them to read. */
  friends: z.array(
    z.strictObject({
      ...{ key: Key, greeting: RecordId, isSeen: z.boolean() },
      /** None of the relays known of him answered when he was last looked for. */
      isSilent: z.boolean().optional(),
    }),
  ),
  /** Records put on the new relay; those that could not be, the last that were lost by the new relay. */
  copied: z.int().min(0),
  unmoved: z.array(Problem).max(mostTold),
  unmovedCount: z.int().min(0),
  lost: z.array(RecordId).max(mostTold),
  /** Contracts with the old relay, and how each ended or why it did not. */
  contracts: z.array(z.strictObject({ contract: Hash, state: z.string(), error: z.string().nullable() })),
  /** What came back of the credit there, satoshi, or why nothing did. */
  withdrawn: z.strictObject({ satoshis: z.string(), txid: Hash }).nullable(),
  notWithdrawn: z.string().nullable(),
  /** What the old relay lists and this home never had: it cannot be moved from here. Null: not asked yet, or not answered. */
  foreign: z.int().min(0).nullable(),
})
export type Migration = z.infer<typeof Migration>

type Open = Migration & { readonly step: Exclude<Migration['step'], 'done' | 'stopped'> }

/** Whether anything of it is still to be done. */
export const isUnderWay = (state: Migration | undefined): state is Open =>
  state !== undefined && state.step !== 'done' && state.step !== 'stopped'

export const migration = (home: Home): Promise<Migration | undefined> => readJson(fileOf(home), Migration)

/** Once it returns, it is on disk. */
export const saveMigration = (home: Home, state: Migration): Promise<void> =>
  writeDurably(fileOf(home), JSON.stringify(state))

const fileOf = (home: Home): string => home.path('migration.json')
