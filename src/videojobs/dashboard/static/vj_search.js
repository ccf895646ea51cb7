// A search field that keeps what is being typed, whatever the server says meanwhile.
export default {
  template: `
    <div class="vj-search">
      <svg class="vj-icon" aria-hidden="true"><use href="#vj-search" /></svg>
      <input id="vj-search-field" type="search" maxlength="255" autocomplete="off" spellcheck="false"
        placeholder="Search by name or file" aria-label="Search by name or file"
        v-model="typed" @input="later" @keydown.enter="now">
      <kbd class="vj-key" aria-hidden="true">/</kbd>
    </div>`,
  props: { text: String },
  emits: ["search"],
  data() {
    return { typed: this.text, told: this.text, timer: null };
  },
  watch: {
    text(text) {
      if (text !== this.told) this.typed = this.told = text;
    },
  },
  methods: {
    later() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.now(), 250);
    },
    now() {
      clearTimeout(this.timer);
      const text = this.typed.trim();
      if (text === this.told) return;
      this.told = text;
      this.$emit("search", text);
    },
  },
};
