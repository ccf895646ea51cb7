// A moment in the reader's time zone; what is relative moves on by itself.
export default {
  template: `<time :datetime="iso" :title="whole">{{ said }}</time>`,
  props: { iso: String, look: String },
  computed: {
    whole() {
      return window.videojobs.whole(this.iso);
    },
    said() {
      const at = new Date(this.iso);
      if (this.look === "time") return at.toLocaleTimeString(undefined, { hour12: false });
      if (this.look === "since") return window.videojobs.elapsed(window.videojobs.now() - at);
      return window.videojobs.relative(this.iso);
    },
  },
};
