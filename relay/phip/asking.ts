/** A sender who waits for a moment to hear what becomes of his message. */
import type { Key } from '../../market/units.ts'
import type { Outcome } from '../boxes/departing.ts'
import { type Host, isSame } from '../../contracts/overlay/host.ts'

/** What is known of one host. */
export type Word = Omit<Outcome, 'recipient' | 'host'>

/** Those who wait now, by the place of the departure. */
export class Askings {
  readonly #asked = new Map<number, Set<Asking>>()

  has(place: number): boolean {
    return this.#asked.has(place)
  }

  add(asking: Asking): void {
    this.#asked.set(asking.place, (this.#asked.get(asking.place) ?? new Set()).add(asking))
  }

  remove(asking: Asking): void {
    const others = this.#asked.get(asking.place)
    others?.delete(asking)
    if (others?.size === 0) this.#asked.delete(asking.place)
  }

  /** A host has said something. */
  hear(place: number, host: Host, word: Word): void {
    for (const asking of this.#asked.get(place) ?? []) asking.hear(host, word)
  }

  /** A host has said something that holds for all of these. */
  hearAll(host: Host, word: Word, isOf: (place: number) => boolean): void {
    for (const place of this.#asked.keys()) if (isOf(place)) this.hear(place, host, word)
  }

  /** The departure is over: whoever has said nothing for good needs to say nothing. */
  close(place: number, word: Word): void {
    for (const asking of this.#asked.get(place) ?? []) asking.close(word)
  }

  /** Nobody waits any longer. */
  stop(): void {
    for (const askings of this.#asked.values()) for (const asking of askings) asking.stop()
  }
}

export class Asking {
  readonly place: number
  readonly #recipient: Key
  readonly #said: { readonly host: Host; word: Word | undefined }[]
  /** Settled when there is no more to hear soon. */
  readonly heard: Promise<void>
  #stop: () => void = () => {}

  constructor({ place, recipient, hosts }: { place: number; recipient: Key; hosts: readonly Host[] }) {
    this.place = place
    this.#recipient = recipient
    this.#said = hosts.map((host) => ({ host, word: undefined }))
    this.heard = new Promise((resolve) => {
      this.#stop = resolve
    })
  }

  get isWaiting(): boolean {
    return this.outcomes.some(({ status }) => status === 'waiting')
  }

  get outcomes(): Outcome[] {
    const recipient = this.#recipient
    return this.#said.map(({ host, word = { status: 'waiting' } }) => ({
      recipient,
      host: host.domain,
      ...word,
    }))
  }

  hear(host: Host, word: Word): void {
    const one = this.#said.find((other) => isSame(other.host, host))
    if (one !== undefined) one.word = word
    if (this.#said.every(({ word }) => word !== undefined)) this.stop()
  }

  close(word: Word): void {
    for (const one of this.#said) if (one.word === undefined || one.word.status === 'waiting') one.word = word
    this.stop()
  }

  /** What these say is told later, whatever they have said by now. */
  leave(hosts: readonly Host[]): void {
    for (const one of this.#said)
      if (one.word?.status !== 'waiting' && hosts.some((host) => isSame(one.host, host)))
        one.word = { status: 'waiting' }
  }

  stop(): void {
    this.#stop()
  }
}
