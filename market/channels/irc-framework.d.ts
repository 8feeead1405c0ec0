/** What is used of irc-framework 4, which ships no types. */
declare module 'irc-framework' {
  import type { EventEmitter } from 'node:events'

  /** Emits `open`, `line` with each line, and `close` once. */
  export interface Transport extends Pick<EventEmitter, 'on' | 'removeAllListeners'> {
    connect(): void
    /** @param done called even where the line is not written */
    writeLine(line: string, done?: () => void): void
    close(isForced: boolean): void
    disposeSocket(): void
    isConnected(): boolean
    /** Whether it is known. */
    setEncoding(encoding: string): boolean
  }

  export interface ClientOptions {
    readonly nick: string
    readonly username: string
    readonly gecos: string
    readonly auto_reconnect: boolean
    /** Seconds; 0 for none. */
    readonly ping_interval: number
    readonly ping_timeout: number
  }

  export interface ClientEvents {
    registered: { readonly nick: string }
    'nick in use': object
    'nick invalid': object
    join: { readonly nick: string; readonly channel: string }
    kick: { readonly kicked: string | undefined; readonly channel: string }
    privmsg: { readonly nick: string; readonly target: string; readonly message: string }
    pong: { readonly message: string | undefined }
    /** With the library's name of it. */
    'irc error': { readonly error: string }
    /** A numeric, where the library has no name for it. */
    'unknown command': { readonly command: string }
    close: boolean
  }

  export class Client {
    readonly user: { readonly nick: string }
    on<K extends keyof ClientEvents>(event: K, hear: (event: ClientEvents[K]) => void): this
    off<K extends keyof ClientEvents>(event: K, hear: (event: ClientEvents[K]) => void): this
    /** The transport is made with all options, those of its own included. */
    connect<Own>(options: ClientOptions & Own & { readonly transport: new (options: Own) => Transport }): void
    raw(...words: string[]): void
    changeNick(nick: string): void
    join(channel: string): void
    quit(): void
  }
}
