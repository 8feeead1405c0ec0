/**
 * Both state machines of a contract on a chain that reorganises, over a network that loses and repeats, in processes that
 * crash, against a partner who says and publishes whatever he can: nobody loses more than the bounds, nobody is locked in.
 */
import t from 'tap'
import {
  creditLimit,
  defaultPolicy as policy,
  missingFor,
  mostClientLoss,
  mostServerLoss,
  youngLimit,
} from '../../contracts/escrow/amounts.ts'
import { clientDuties, nextClient } from '../../contracts/escrow/client-machine.ts'
import type { Client, ClientAction, ClientEvent } from '../../contracts/escrow/client-state.ts'
import type { ChainLook, Moment, Spend } from '../../contracts/escrow/machine.ts'
import { isLiveServer, nextServer, serverDuties, standingOf } from '../../contracts/escrow/server-machine.ts'
import type { Payment, Server, ServerAction, ServerEvent } from '../../contracts/escrow/server-state.ts'
import { parseTerms, serviceEnd, type Terms } from '../../contracts/escrow/terms.ts'
import { MarketError } from '../../market/errors.ts'
import { type Dice, diceOf } from '../fixtures/dice.ts'

const start = 1_790_000_000
const day = 86_400
const terms: Terms = parseTerms({
  ...{
    v: 1,
    network: 'devnet',
    nonce: '07'.repeat(32),
    client: `02${'11'.repeat(32)}`,
    server: `03${'22'.repeat(32)}`,
  },
  ...{ created: start, openBy: start + 600, expiry: start + 10 * day, closeMargin: 21_600, period: day },
  ...{
    budget: 60_000,
    depositClient: 10_000,
    depositServer: 5000,
    creditLimit: 10_000,
    feeRate: 100,
    closeFee: 100,
  },
  prices: { storageGBDay: 4000, egressGB: 100_000, ingressGB: 0 },
})
const nextTerms = {
  ...terms,
  nonce: '08'.repeat(32),
  openBy: terms.openBy + 9 * day,
  expiry: terms.expiry + 10 * day,
}

type Kind = 'settled' | 'progress'
/** A transaction: what it may not be in a chain with, and what must be in it. */
interface Tx {
  readonly id: string
  readonly conflicts: readonly string[]
  readonly needs?: string
  readonly end?: Spend['end'] & { paid?: number }
  readonly lock?: number
}
const fundings = ['J1', 'J2'] // the same, malleated
const stakeBack: Tx = { id: 'C', conflicts: fundings }
const serverBack: Tx = { id: 'S', conflicts: fundings }
const funding = (id: string): Tx => ({
  id,
  conflicts: ['C', 'S', ...fundings.filter((other) => other !== id)],
})
const renewalBack: Tx = { id: 'RC', conflicts: ['R'] }
const spendOf = (joint: string, end: Spend['end'], lock?: number): Tx => ({
  id: `${joint}:${end.kind}:${'paid' in end ? end.paid : ''}`,
  conflicts: ['*', ...(end.kind === 'rollover' ? ['RC'] : [])],
  needs: joint,
  end,
  ...(lock !== undefined && { lock }),
})

/** One view of a chain that both sides share. */
class Chain {
  now = start
  height = 0
  readonly pool = new Map<string, Tx>()
  readonly mined = new Map<string, { tx: Tx; height: number }>()

  get at(): Moment {
    return { now: this.now, medianTime: this.now - 3600 }
  }
  #clash(a: Tx, b: Tx): boolean {
    if (a.id === b.id) return false
    const isPair = a.conflicts.includes('*') && b.conflicts.includes('*')
    return isPair || a.conflicts.includes(b.id) || b.conflicts.includes(a.id)
  }
  has(id: string): boolean {
    return this.pool.has(id) || this.mined.has(id)
  }
  /** By force: a miner helps, so that what waits and conflicts is dropped. */
  send(tx: Tx, force = false): boolean {
    if (this.has(tx.id)) return true
    if (tx.lock !== undefined && this.at.medianTime <= tx.lock) return false
    if (tx.needs !== undefined && !this.has(tx.needs)) return false
    if ([...this.mined.values()].some((other) => this.#clash(tx, other.tx))) return false
    const clashing = [...this.pool.values()].filter((other) => this.#clash(tx, other))
    if (clashing.length > 0 && !force) return false
    for (const other of clashing) this.#drop(other)
    this.pool.set(tx.id, tx)
    return true
  }
  #drop(tx: Tx): void {
    this.pool.delete(tx.id)
    for (const child of [...this.pool.values()]) if (child.needs === tx.id) this.pool.delete(child.id)
  }
  mine(seconds: number): void {
    this.now += seconds
    this.height++
    for (const tx of this.pool.values()) this.mined.set(tx.id, { tx, height: this.height })
    this.pool.clear()
  }
  /** Undoes blocks; those who can, put something else in their place. */
  reorganize(depth: number, instead: readonly Tx[]): void {
    this.height = Math.max(0, this.height - depth)
    const undone = [...this.mined.values()].filter(({ height }) => height > this.height)
    for (const { tx } of undone) this.mined.delete(tx.id)
    const waiting = [...this.pool.values()]
    this.pool.clear()
    for (const tx of [...instead, ...undone.map(({ tx }) => tx), ...waiting]) this.send(tx)
    for (let left = depth; left >= 0; left--) this.mine(1)
  }
  depth(id: string): number | undefined {
    const found = this.mined.get(id)
    return found ? this.height - found.height + 1 : this.pool.has(id) ? 0 : undefined
  }
  look(): ChainLook {
    const id = fundings.find((id) => this.has(id))
    const joint = id === undefined ? undefined : { txid: id, depth: this.depth(id)! }
    const all = [...this.pool.values(), ...[...this.mined.values()].map(({ tx }) => tx)]
    const spender = all.find((tx) => tx.end !== undefined)
    const end = spender?.end as Spend['end']
    const deaths = ['C', 'S'].flatMap((id) => this.depth(id) ?? [])
    const returned = this.depth('C')
    const renewalDead = this.depth('RC')
    return {
      ...(joint && { joint }),
      ...(spender && { spend: { txid: spender.id, depth: this.depth(spender.id)!, end } }),
      ...(deaths.length > 0 && { deadDepth: Math.max(...deaths) }),
      ...(returned !== undefined && { returnedDepth: returned }),
      ...(renewalDead !== undefined && { renewalDeadDepth: renewalDead }),
    }
  }
}

const sigOf = (who: 'c' | 's', kind: Kind, paid: number, joint: string): string =>
  `${who}.${kind}.${paid}.${joint}`
/** `absent`: gone, for ever. */
type Role = 'honest' | 'hostile' | 'absent'
type Message =
  | { to: 'client'; event: (at: Moment) => ClientEvent }
  | { to: 'server'; event: (at: Moment) => ServerEvent }

/** One run, from a seed. */
class Run {
  readonly chain = new Chain()
  readonly dice: Dice
  readonly roles: { client: Role; server: Role }
  client: Client = { state: 'idle' }
  server: Server = { state: 'idle' }
  /** Everything that was ever signed, by both or one, for whoever holds it to publish. */
  readonly byClient = new Set<string>()
  readonly byServer = new Set<string>()
  readonly wire: Message[] = []
  snapshot: Server = { state: 'idle' }
  log: { payments: Payment[]; lowest: number | null } = { payments: [], lowest: null }
  owed = 0
  reserved = 0
  /** The funding came back with another txid. */
  isChanged = false
  /** The last days passed without leaps: nobody was away when the end was asked for. */
  isInTime = false
  most = 0
  /** Whether each side has signed its inputs of the funding. */
  readonly funded = { client: false, server: false }
  renewalMade = false
  renewalPaid = 0
  /** Of a hostile client: how much of what it pays it settles, and whether it waits for its moment. */
  readonly settling: number
  readonly isQuiet: boolean
  readonly seen = { states: new Set<string>(), sizes: 0 }

  constructor(seed: number, roles: { client: Role; server: Role }) {
    this.dice = diceOf(seed)
    this.roles = { ...roles }
    this.settling = this.dice(11) / 10
    this.isQuiet = !this.chance(4)
  }
  one<T>(list: readonly T[]): T | undefined {
    return list[this.dice(Math.max(1, list.length))]
  }
  chance(of: number): boolean {
    return this.dice(of) === 0
  }

  tellClient(event: ClientEvent): void {
    const step = refusalOf(() => nextClient(this.client, event))
    if (step === undefined) return
    this.client = step.state
    this.seen.states.add(`client ${step.state.state}`)
    this.actAsClient(step.actions)
  }
  tellServer(event: ServerEvent): void {
    const step = refusalOf(() => nextServer(this.server, event, policy))
    if (step === undefined) return
    this.server = step.state
    this.seen.states.add(`server ${step.state.state}`)
    if (event.on === 'payment' && step.state.state !== 'held') this.log.payments.push(event)
    const live = step.state.state === 'held' ? step.state.was : step.state
    if (isLiveServer(live)) {
      this.isChanged ||= live.joint.txid !== 'J1'
      this.seen.sizes = Math.max(this.seen.sizes, live.progress.length)
      if (live.lowestSigned !== null)
        this.log.lowest = Math.min(this.log.lowest ?? Infinity, live.lowestSigned)
    }
    this.actAsServer(step.actions)
  }

  get joint(): string {
    return 'txid' in this.client ? this.client.txid : 'was' in this.client ? this.client.was.txid : 'J1'
  }
  signPayment(paid: number, settled: number): Payment {
    const payment = {
      paid,
      settled,
      sig: sigOf('c', 'progress', paid, this.joint),
      settledSig: sigOf('c', 'settled', settled, this.joint),
    }
    this.byClient.add(payment.sig).add(payment.settledSig)
    return payment
  }
  /** After its state is on disk, an action may still be lost with the process. */
  actAsClient(actions: readonly ClientAction[]): void {
    for (const action of actions) {
      if (this.chance(12)) return
      this.clientAct(action)
    }
  }
  clientAct(action: ClientAction): unknown {
    const { chain } = this
    switch (action.do) {
      case 'stake':
        return this.tellClient({ on: 'staked', at: chain.at })
      case 'open':
        return this.wire.push({ to: 'server', event: (at) => ({ on: 'open', terms, at }) })
      case 'sign-funding':
        this.funded.client = true
        return this.wire.push({
          to: 'server',
          event: (at) => ({ on: 'client-signed', txid: 'J1', jitter: this.dice(3600), at }),
        })
      case 'reclaim':
        return chain.send(action.terms === terms ? stakeBack : renewalBack)
      case 'pay':
        return this.sendPayment('payment', this.signPayment(action.paid, action.settled))
      case 'refuse-payment':
        return this.sendPayment('payment-refused', this.signPayment(action.paid, action.settled))
      case 'publish':
        this.byClient.add(sigOf('c', 'settled', action.paid, this.joint))
        return this.publish('settled', action.paid, this.joint)
      case 'offer-close': {
        const { paid } = action
        const sig = sigOf('c', 'settled', paid, this.joint)
        this.byClient.add(sig)
        const event = (at: Moment): ServerEvent => ({ on: 'refund-payment', paid, sig, owed: this.owed, at })
        return this.wire.push({ to: 'server', event })
      }
      case 'renew': {
        const { paid } = action
        this.renewalPaid = paid
        this.renewalMade = true
        const unproven = 0
        const event = (at: Moment): ServerEvent => ({
          on: 'rollover',
          terms: nextTerms,
          paid,
          owed: this.owed,
          unproven,
          at,
        })
        return this.wire.push({ to: 'server', event })
      }
      case 'refund':
        return chain.send(spendOf(this.joint, { kind: 'expiry' }, terms.expiry))
      case 'keep-joint':
      case 'take-payout':
        return
    }
  }
  sendPayment(on: 'payment' | 'payment-refused', payment: Payment): void {
    const joint = this.joint
    // The server checks signatures against the joint output it knows.
    const event = (at: Moment): ServerEvent => {
      const live = this.server.state === 'held' ? this.server.was : this.server
      const isGood = isLiveServer(live) && live.joint.txid === joint
      if (!isGood) return { on: 'tick', owed: this.owed, at }
      return on === 'payment' ? { on, ...payment, at } : { on, payment, at }
    }
    this.wire.push({ to: 'server', event })
  }
  actAsServer(actions: readonly ServerAction[]): void {
    for (const action of actions) {
      if (this.chance(12)) return
      this.serverAct(action)
    }
  }
  serverAct(action: ServerAction): unknown {
    const { chain, server } = this
    const live = server.state === 'held' ? server.was : server
    const joint = isLiveServer(live) ? live.joint.txid : 'J1'
    switch (action.do) {
      case 'answer-open':
        return this.wire.push({ to: 'client', event: (at) => ({ on: 'server-inputs', at }) })
      case 'fund':
        this.funded.server = true
        return this.funded.client && chain.send(funding(joint))
      case 'request-payment': {
        const sig = sigOf('s', 'settled', action.owed, joint)
        this.byServer.add(sig)
        const event = (at: Moment): ClientEvent => ({
          on: 'request-payment',
          paid: action.owed,
          sig,
          audited: this.audited(),
          at,
        })
        return this.wire.push({ to: 'client', event })
      }
      case 'publish':
        this.byServer.add(sigOf('s', action.kind, action.paid, joint))
        return this.publish(action.kind, action.paid, joint)
      case 'renew':
        return this.renewalMade && chain.send(spendOf(joint, { kind: 'rollover' }))
      case 'refund':
        return chain.send(spendOf(joint, { kind: 'expiry' }, terms.expiry))
      case 'send-evidence':
      case 'refuse-close':
      case 'release':
      case 'take-payout':
        return
    }
  }
  publish(kind: Kind, paid: number, joint: string, force = false): void {
    const isSigned =
      this.byClient.has(sigOf('c', kind, paid, joint)) && this.byServer.has(sigOf('s', kind, paid, joint))
    if (isSigned) this.chain.send(spendOf(joint, { kind, paid }), force)
  }

  audited(): number {
    return this.dice(4) === 0 ? Math.floor(this.owed * 0.97) : this.owed
  }
  /** The relay serves; a hostile one may take any write and serve nothing. */
  write(): void {
    const cost = 1 + this.dice(this.chance(4) ? 4000 : 300)
    const standing = standingOf(this.server, this.chain.at)
    const isHostile = this.roles.server === 'hostile'
    if (this.roles.server === 'absent') return
    if (!isHostile && standing === undefined) return
    const missing =
      standing && missingFor(standing, { owed: this.owed, reserved: this.reserved }, cost, policy)
    if (isHostile || missing === undefined) {
      this.reserved += cost
      if (standing)
        this.most = Math.max(
          this.most,
          youngLimit(terms, policy, standing.depth) === Infinity ? 0 : this.owed + this.reserved,
        )
      return
    }
    if (this.roles.client === 'honest') this.audit(cost, true)
    // Pays no more than it must to be served, and settles as little of it as it likes.
    if (
      this.roles.client === 'hostile' &&
      missing.paidNeeded !== undefined &&
      missing.paidNeeded <= terms.budget
    )
      this.payAs(missing.paidNeeded, Math.floor(missing.paidNeeded * this.settling))
  }
  audit(cost = 0, isWanted = false): void {
    const audited = this.audited()
    const unproven = this.owed - audited
    this.tellClient({
      on: 'audited',
      audited,
      unproven,
      reserved: this.reserved,
      cost,
      isWanted,
      at: this.chain.at,
    })
  }
  use(): void {
    // Service ends with the contract.
    if (this.chain.now >= serviceEnd(terms) || !isLiveServer(this.server)) return
    const used = this.dice(this.reserved + 1)
    this.owed += used
    this.reserved -= this.chance(3) ? this.reserved : used
  }

  deliver(): void {
    if (this.wire.length === 0) return
    const [message] = this.wire.splice(this.dice(this.wire.length), 1)
    if (this.chance(8)) return
    if (this.chance(8)) this.wire.push(message!)
    if (message!.to === 'client' && this.roles.client === 'honest')
      this.tellClient(message!.event(this.chain.at))
    if (message!.to === 'server' && this.roles.server === 'honest')
      this.tellServer(message!.event(this.chain.at))
  }
  look(): void {
    const { at } = this.chain
    if (this.roles.client === 'honest') {
      this.tellClient({ on: 'chain', ...this.chain.look(), at })
      this.tellClient({ on: 'tick', at })
    }
    if (this.roles.server === 'honest') {
      this.tellServer({ on: 'chain', ...this.chain.look(), at })
      this.tellServer({ on: 'tick', owed: this.owed, at })
    }
  }
  /** From its disk, as it was at some time, and then what the payment log has. */
  restore(): void {
    const { at } = this.chain
    if (!isLiveServer(this.snapshot) || !isLiveServer(this.server)) return
    this.server = this.snapshot
    this.tellServer({ on: 'restored', at })
    this.look()
    const { joint } = this.chain.look()
    const good = this.log.payments.filter(({ sig }) => sig.endsWith(`.${joint?.txid}`))
    for (const payment of good) this.tellServer({ on: 'payment', ...payment, at })
    this.tellServer({ on: 'state-exchanged', lowestSigned: this.log.lowest, at })
  }

  payAs(paid: number, least: number): void {
    const live = isLiveServer(this.server) ? this.server : undefined
    const joint = live?.joint.txid ?? 'J1'
    const settled = Math.min(paid, Math.max(least, live?.settled?.paid ?? 0))
    const sigs = {
      sig: sigOf('c', 'progress', paid, joint),
      settledSig: sigOf('c', 'settled', settled, joint),
    }
    this.byClient.add(sigs.sig).add(sigs.settledSig)
    this.tellServer({ on: 'payment', paid, settled, ...sigs, at: this.chain.at })
  }

  hostileClient(): unknown {
    const { chain } = this
    // One that lives long gets far: it makes no noise that would end the contract.
    if (this.isQuiet && !this.chance(60)) return
    const live = isLiveServer(this.server) ? this.server : undefined
    const amount = () => this.dice(this.chance(2) ? terms.budget + 1 : this.owed + this.reserved + 200)
    const tell = (event: ServerEvent) => this.tellServer(event)
    const joint = live?.joint.txid ?? 'J1'
    const payment = (): Payment => {
      const paid = amount()
      const settled = this.dice(paid + 1)
      const sigs = {
        sig: sigOf('c', 'progress', paid, joint),
        settledSig: sigOf('c', 'settled', settled, joint),
      }
      this.byClient.add(sigs.sig).add(sigs.settledSig)
      return { paid, settled, ...sigs }
    }
    switch (this.dice(12)) {
      case 0:
        return tell({ on: 'open', terms, at: chain.at })
      case 1:
        this.funded.client = true
        return tell({ on: 'client-signed', txid: 'J1', jitter: this.dice(3600), at: chain.at })
      case 2:
      case 3:
      case 4:
        return tell({ on: 'payment', ...payment(), at: chain.at })
      case 5: {
        const paid = amount()
        const sig = sigOf('c', 'settled', paid, joint)
        this.byClient.add(sig)
        return tell({
          on: 'refund-payment',
          paid: Math.min(paid, terms.budget),
          sig,
          owed: this.owed,
          at: chain.at,
        })
      }
      case 6:
        return tell({ on: 'payment-refused', payment: payment(), at: chain.at })
      case 7: {
        this.renewalMade = true
        this.renewalPaid = this.owed
        return tell({
          on: 'rollover',
          terms: nextTerms,
          paid: this.owed,
          owed: this.owed,
          unproven: 0,
          at: chain.at,
        })
      }
      case 8:
        return this.chance(5) && chain.send(this.chance(2) ? stakeBack : renewalBack, true)
      case 9:
        return chain.send(spendOf(joint, { kind: 'expiry' }, terms.expiry), true)
      case 10: {
        // The worst for the server that both have signed.
        const signed = [...this.byServer].map((sig) => sig.split('.'))
        for (const [, kind, paid, at] of signed) {
          this.byClient.add(sigOf('c', kind as Kind, Number(paid), at!))
          this.publish(kind as Kind, Number(paid), at!, true)
        }
        return
      }
      case 11:
        return tell({ on: 'end', owed: this.owed, at: chain.at })
    }
  }
  hostileServer(): unknown {
    const { chain } = this
    switch (this.dice(8)) {
      case 0:
        return this.tellClient({ on: 'server-inputs', at: chain.at })
      case 1:
        this.funded.server = true
        return this.funded.client && chain.send(funding(this.one(fundings)!), true)
      case 2:
        return this.chance(15) && chain.send(serverBack, true)
      case 3:
      case 4: {
        const paid = this.dice(terms.budget + 1)
        const sig = sigOf('s', 'settled', paid, this.joint)
        this.byServer.add(sig)
        return this.tellClient({ on: 'request-payment', paid, sig, audited: this.audited(), at: chain.at })
      }
      case 5: {
        // Any state the client signed.
        const signed = this.one([...this.byClient])?.split('.')
        if (signed === undefined || !this.chance(6)) return
        const [, kind, paid, joint] = signed
        this.byServer.add(sigOf('s', kind as Kind, Number(paid), joint!))
        return this.publish(kind as Kind, Number(paid), joint!, true)
      }
      case 6:
        return (
          this.renewalMade && this.chance(6) && chain.send(spendOf(this.joint, { kind: 'rollover' }), true)
        )
      case 7:
        return chain.send(spendOf(this.joint, { kind: 'expiry' }, terms.expiry), true)
    }
  }

  /** Most schedules are about what comes after: here both open as they should, the hostile one too. */
  begin(): void {
    const { chain, roles } = this
    for (let turn = 0; turn < 30 && chain.depth('J1') === undefined; turn++) {
      if (roles.client === 'honest') {
        if (this.client.state === 'idle') this.tellClient({ on: 'open', terms, at: chain.at })
        if (roles.server === 'hostile') this.tellClient({ on: 'server-inputs', at: chain.at })
        this.actAsClient(clientDuties(this.client, chain.at))
      } else {
        this.funded.client = true
        this.tellServer({ on: 'open', terms, at: chain.at })
        this.tellServer({ on: 'client-signed', txid: 'J1', jitter: this.dice(3600), at: chain.at })
      }
      if (roles.server === 'hostile' && this.funded.client) chain.send(funding('J1'))
      this.deliver()
    }
    for (let blocks = this.dice(12); blocks > 0; blocks--) chain.mine(100)
    this.look()
    // One who uses all he can while his funding is young, and undoes it then.
    if (roles.client !== 'hostile' || this.chance(3) || (chain.depth('J1') ?? 9) > 3) return
    for (let turn = 0; turn < 40; turn++) {
      this.write()
      this.use()
    }
    if (this.chance(2)) chain.reorganize(3, [stakeBack])
  }

  step(): unknown {
    const { chain } = this
    const [client, server] = [this.roles.client, this.roles.server]
    switch (this.dice(14)) {
      case 0:
      case 1:
        return this.deliver()
      case 2:
        return this.look()
      case 3:
        return chain.mine(1 + this.dice(1200))
      case 4:
        return this.write()
      case 5:
        return this.use()
      case 6:
        if (client === 'absent') return
        return client === 'honest' ? this.audit(0, this.chance(3)) : this.hostileClient()
      case 7:
        if (!this.chance(6)) return
        // A miner may help whoever wants another chain.
        return chain.reorganize(1 + this.dice(3), [
          ...(this.funded.client && this.funded.server && this.chance(2)
            ? [funding(this.one(fundings)!)]
            : []),
          ...(client === 'hostile' && this.chance(2) ? [stakeBack] : []),
          ...(server === 'hostile' && this.chance(2) ? [serverBack] : []),
        ])
      case 8:
        if (this.chance(4)) this.snapshot = this.server
        return server === 'honest' && this.chance(15) && this.restore()
      case 9:
        return this.chance(5) && chain.mine(this.dice(2 * day))
      case 10:
        if (client === 'hostile') return this.hostileClient()
        if (client === 'absent') return
        this.actAsClient(clientDuties(this.client, chain.at))
        if (!this.chance(25)) return
        if (this.chance(2)) return this.tellClient({ on: 'close', keep: this.dice(3000), at: chain.at })
        return this.tellClient({ on: 'renew', terms: nextTerms, paid: this.owed, at: chain.at })
      case 11:
        if (server === 'hostile') return this.hostileServer()
        if (server === 'absent') return
        this.actAsServer(serverDuties(this.server, chain.at))
        return this.chance(40) && this.tellServer({ on: 'end', owed: this.owed, at: chain.at })
      case 12:
        if (client === 'hostile') return this.hostileClient()
        return (
          client === 'honest' &&
          this.client.state === 'idle' &&
          this.tellClient({ on: 'open', terms, at: chain.at })
        )
      case 13:
        if (server === 'hostile') return this.hostileServer()
        return
    }
  }

  /** Everybody has time until expiry and a little longer; the hostile one goes on. */
  finish(): void {
    this.isInTime = this.chain.now < terms.expiry - 4 * terms.closeMargin
    this.wire.splice(0, this.wire.length - 20) // what is older was lost
    for (let turn = 0; turn < 400 && this.chain.now < nextTerms.openBy + 5 * day; turn++) {
      this.chain.mine(3600)
      this.look()
      for (let messages = this.wire.length; messages > 0; messages--) this.deliver()
      for (let times = 0; times < 2; times++) {
        if (this.roles.client === 'hostile') this.hostileClient()
        if (this.roles.server === 'hostile') this.hostileServer()
        if (this.roles.client === 'honest') this.actAsClient(clientDuties(this.client, this.chain.at))
        if (this.roles.server === 'honest') this.actAsServer(serverDuties(this.server, this.chain.at))
      }
    }
  }
  /** What each side lost, in satoshi without fees; undefined for a joint output that nobody has spent. */
  result(): { client: number; server: number; end: string } | undefined {
    const { chain } = this
    const joint = fundings.some((id) => chain.mined.has(id))
    if (!joint) return { client: -this.owed, server: this.owed, end: 'unfunded' }
    const spender = [...chain.mined.values()].find(({ tx }) => tx.end !== undefined)?.tx
    if (spender === undefined) return undefined
    const end = spender.end!
    const paid = end.kind === 'rollover' ? this.renewalPaid : 'paid' in end ? (end.paid ?? 0) : 0
    const [lostClient, lostServer] =
      end.kind === 'progress' ? [terms.depositClient, terms.depositServer] : [0, 0]
    return { client: paid + lostClient - this.owed, server: this.owed - paid + lostServer, end: end.kind }
  }
  get earned(): number {
    const live = 'was' in this.server ? this.server.was : this.server
    return isLiveServer(live) ? (live.settled?.paid ?? 0) : 0
  }
}

function refusalOf<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch (error) {
    if (error instanceof MarketError && error.extras.refusal !== undefined) return undefined
    throw error
  }
}

interface Summary {
  readonly ends: Map<string, number>
  readonly states: Set<string>
  mostClient: number
  mostServer: number
}

function explore(
  roles: { client: Role; server: Role },
  runs: number,
  check: (run: Run, seed: number, summary: Summary) => void,
): Summary {
  const summary: Summary = {
    ends: new Map(),
    states: new Set(),
    mostClient: -Infinity,
    mostServer: -Infinity,
  }
  for (let seed = 0; seed < runs; seed++) {
    const run = new Run(seed * 7919 + 13, roles)
    const steps = 40 + run.dice(200)
    if (!run.chance(5)) run.begin()
    const vanishing = run.dice(2 * steps)
    for (let step = 0; step < steps; step++) {
      if (step === vanishing) run.roles[vanisher(run, roles)] = 'absent'
      run.step()
    }
    run.finish()
    for (const state of run.seen.states) summary.states.add(state)
    check(run, seed, summary)
  }
  return summary
}

/** Not the one whose losses are bounded; of two honest ones, either. */
const vanisher = (run: Run, { client, server }: { client: Role; server: Role }): 'client' | 'server' => {
  if (client === 'hostile') return 'client'
  return server === 'hostile' || run.chance(2) ? 'server' : 'client'
}

function resultOf(run: Run, seed: number, summary: Summary) {
  const result = run.result()
  if (result === undefined)
    throw new Error(
      `seed ${seed}: the money is locked: client ${JSON.stringify(run.client)}, server ${JSON.stringify(run.server)}`,
    )
  summary.ends.set(result.end, (summary.ends.get(result.end) ?? 0) + 1)
  summary.mostClient = Math.max(summary.mostClient, result.client)
  summary.mostServer = Math.max(summary.mostServer, result.server)
  return result
}
const runs = 700
const show = ({ ends, mostClient, mostServer }: Summary) =>
  `most lost: client ${mostClient}, server ${mostServer}; ${[...ends].map(([end, count]) => `${end} ${count}`).join(', ')}`

t.test(`${runs} schedules of two honest sides`, async (t) => {
  const summary = explore({ client: 'honest', server: 'honest' }, runs, (run, seed, summary) => {
    const { client, server, end } = resultOf(run, seed, summary)
    if (client > mostClientLoss(terms))
      throw new Error(
        `seed ${seed}: the client loses ${client}, ${JSON.stringify([run.roles, run.owed, run.reserved, run.client, run.server])}`,
      )
    if (run.roles.server === 'honest' && server > mostServerLoss(terms, policy, run))
      throw new Error(`seed ${seed}: the server loses ${server}`)
    const isTogether = run.roles.client === 'honest' && run.roles.server === 'honest' && run.isInTime
    if (isTogether && end === 'progress') throw new Error(`seed ${seed}: deposits burn though both are there`)
  })
  t.comment(show(summary))
  const over = [
    'idle',
    'staking',
    'opening',
    'signed',
    'active',
    'disputed',
    'closing',
    'cancelling',
    'cancelled',
    'closed',
    'refunded',
  ]
  for (const state of over.slice(1)) t.ok(summary.states.has(`client ${state}`), `the client was ${state}`)
  for (const state of ['idle', 'reserved', 'active', 'closing', 'disputed', 'held', 'closed'])
    t.ok(summary.states.has(`server ${state}`), `the server was ${state}`)
})

t.test(`${runs} schedules of an honest client and a hostile server`, async (t) => {
  const summary = explore({ client: 'honest', server: 'hostile' }, runs, (run, seed, summary) => {
    const { client } = resultOf(run, seed, summary)
    if (client > mostClientLoss(terms)) throw new Error(`seed ${seed}: the client loses ${client}`)
  })
  t.comment(show(summary))
  t.ok(summary.mostClient > 0, 'it does lose something')
  t.ok(summary.mostClient <= mostClientLoss(terms))
})

t.test(`${runs} schedules of a hostile client and an honest server`, async (t) => {
  const summary = explore({ client: 'hostile', server: 'honest' }, runs, (run, seed, summary) => {
    const { server, end } = resultOf(run, seed, summary)
    const bound = end === 'unfunded' ? run.most : mostServerLoss(terms, policy, run)
    if (server > bound)
      throw new Error(
        `seed ${seed}: the server loses ${server} of at most ${bound}: ${JSON.stringify(run.server)}`,
      )
    if (end === 'unfunded' && server > terms.creditLimit / 4)
      throw new Error(`seed ${seed}: ${server} on nothing`)
  })
  t.comment(show(summary))
  t.ok(summary.mostServer > 0, 'it does lose something')
  t.ok(summary.mostServer <= creditLimit(terms, policy, terms.budget) + terms.depositServer)
})
