/** The store against a slow model in memory: any sequence of actions, restarts included, has the same results and inventories. */
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import type { RecordPath, SealedRecord } from '../../market/record.ts'
import { Store } from '../../relay/store/store.ts'
import { Sweeper } from '../../relay/store/sweeper.ts'
import { identityOf } from '../fixtures/keys.ts'
import { type Kept, Model } from '../fixtures/store-model.ts'
import { clock, makeDelete, makeRead, makeRecord, termsOf } from '../fixtures/records.ts'

t.setTimeout(280_000)

const owners = ['ann', 'ben'].map((name) => identityOf(name))
const receivers = ['rae', 'sam'].map((name) => identityOf(name).identity)
const tags = ['', 'x']

const either = fc.nat(1)
const record = { owner: either, receiver: either, id: fc.nat(2) }
const action = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      ...record,
      tag: either,
      ttl: fc.integer({ min: 1, max: 30 }),
      maxPulls: fc.integer({ min: 1, max: 2 }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('read' as const), ...record }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('repeat' as const), which: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('rewrite' as const), which: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('delete' as const), ...record }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      ms: fc.constantFrom(1, 1000, 31_000, 3_600_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('reopen' as const, 'sweep' as const) }) },
)
type Action = typeof action extends fc.Arbitrary<infer A> ? A : never

const [ann, ben] = owners.map(({ identity }) => identity) as [string, string]
const [rae] = receivers as [string]
const views = [
  {
    query: { view: { inbox: rae } },
    lists: ({ path, pullsLeft }: Kept) => path.receiver === rae && pullsLeft > 0,
  },
  {
    query: { view: { inbox: rae, owners: [ben, ann] }, tag: 'x' },
    lists: ({ path, pullsLeft, record }: Kept) =>
      path.receiver === rae && pullsLeft > 0 && record.msg.request.tag === 'x',
  },
  { query: { view: { outbox: ann } }, lists: ({ path }: Kept) => path.owner === ann },
]

/** Every page from `after` on, and where it ended. */
async function follow(store: Store, query: (typeof views)[number]['query'], after: number) {
  const paths: string[] = []
  for (let place = after; ; ) {
    const page = await store.inventory({ ...query, after: place, limit: 2 })
    paths.push(...page.entries.map(({ path }) => path))
    place = store.placeOfCursor(store.cursorOf(page.place))
    if (!page.more) return { paths, place }
  }
}

type Request = ReturnType<typeof makeRead>

const pathOf = ({ owner, receiver, id }: { owner: number; receiver: number; id: number }): RecordPath => ({
  owner: owners[owner]!.identity,
  receiver: receivers[receiver]!,
  recordId: `id${id}`,
})

function same(found: unknown, expected: unknown, what: string): void {
  if (JSON.stringify(found) === JSON.stringify(expected)) return
  throw new Error(`${what}: ${JSON.stringify({ found, expected })}`)
}

/** Does everything to the store and to the model, and compares. */
class Game {
  readonly now = clock()
  readonly model = new Model(this.now)
  readonly directory: string
  store!: Store
  /** Newest first. */
  readonly reads: Request[] = []
  readonly records: SealedRecord[] = []
  readonly followers = views.map((view) => ({ ...view, place: 0, seq: 0 }))

  constructor(directory: string) {
    this.directory = directory
  }

  async open(): Promise<void> {
    this.store = await Store.open({ directory: this.directory, now: this.now })
  }

  async act(action: Action): Promise<void> {
    const { store, model, now } = this
    switch (action.do) {
      case 'write':
        return this.write(await this.seal(action))
      case 'rewrite': {
        const record = this.records[action.which]
        return record && this.write(record)
      }
      case 'read': {
        const request = makeRead(pathOf(action), this.reads.length, now())
        this.reads.unshift(request)
        return this.read(request)
      }
      case 'repeat': {
        const request = this.reads[action.which]
        // A stale message never reaches the store.
        return request && request.until >= now() ? this.read(request) : undefined
      }
      case 'delete': {
        const result = await store.delete(makeDelete(pathOf(action)))
        const found = result.outcome === 'deleted' ? result.receipt : result.outcome
        return same(found, model.delete(pathOf(action)), 'delete')
      }
      case 'wait':
        now.ms += action.ms
        return
      case 'reopen':
        await store.close()
        await this.open()
        return model.reopen()
      case 'sweep':
        await new Sweeper({ store, now, monotonic: now }).run()
        return same(
          store.counters(ann).records,
          model.listed(({ path }) => path.owner === ann).length,
          'swept',
        )
    }
  }

  /** Every view from its beginning, and what its cursor has not seen yet: neither less nor twice. */
  async look(): Promise<void> {
    for (const follower of this.followers) {
      const { paths, place } = await follow(this.store, follower.query, follower.place)
      same(paths, this.model.listed(follower.lists, follower.seq), 'what a cursor follows')
      Object.assign(follower, { place, seq: this.model.seq })
      const all = await follow(this.store, follower.query, 0)
      same(all.paths, this.model.listed(follower.lists), 'an inventory')
    }
  }

  async seal(action: Action & { do: 'write' }): Promise<SealedRecord> {
    const { ttl, maxPulls, tag } = action
    const { receiver, recordId } = pathOf(action)
    const facts = { owner: owners[action.owner]!, receiver, recordId, ttl, maxPulls, tag: tags[tag]! }
    const record = await makeRecord({ ...facts, timestamp: this.now() })
    this.records.unshift(record)
    return record
  }

  async write(record: SealedRecord): Promise<void> {
    const { outcome } = await this.store.write(record, termsOf(record))
    same(outcome, this.model.write(record), 'write')
  }

  async read(request: Request): Promise<void> {
    const result = await this.store.read(request)
    same(result.outcome === 'record' ? result.text : result.outcome, this.model.read(request), 'read')
  }
}

async function play(directory: string, actions: readonly Action[]): Promise<void> {
  const game = new Game(directory)
  await game.open()
  try {
    for (const action of actions) {
      await game.act(action)
      await game.look()
    }
  } finally {
    await game.store.close()
  }
}

t.test('any sequence of actions has the results of the model', async (t) => {
  const directory = t.testdir()
  const property = fc.asyncProperty(fc.array(action, { minLength: 10, maxLength: 60 }), (actions) =>
    play(mkdtempSync(join(directory, 'run-')), actions),
  )

  await t.resolves(fc.assert(property, { numRuns: 40 }))
})
