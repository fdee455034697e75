// SPDX-License-Identifier: Apache-2.0
// The compiled half of the Python package: the C face with Python's strings and bytes, and without the GIL in every call that
// may take time. What users see is the typed package beside it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <incus/incus.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace py = pybind11;

namespace {

using Maybe = std::optional<std::string>;

const char *c_str(const Maybe &s) { return s ? s->c_str() : nullptr; }

py::str to_str(const char *s, std::size_t n) {
  return py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(s, static_cast<Py_ssize_t>(n), "replace"));
}

/// A string of the library, freed with the object.
struct Text {
  char *p = nullptr;
  std::size_t size = 0;
  Text() = default;
  Text(const Text &) = delete;
  Text &operator=(const Text &) = delete;
  ~Text() { incus_string_free(p); }
  py::str str() const { return p ? to_str(p, std::char_traits<char>::length(p)) : py::str(""); }
  py::bytes bytes() const { return py::bytes(p ? p : "", p ? size : 0); }
};

[[noreturn]] void raise(incus_error *error) {
  std::unique_ptr<incus_error, decltype(&incus_error_free)> owned(error, incus_error_free);
  py::list causes;
  for (std::size_t i = 0; i < incus_error_cause_count(error); i++) {
    std::string c = incus_error_cause(error, i);
    causes.append(to_str(c.data(), c.size()));
  }
  std::string message = incus_error_message(error);
  auto made = py::module_::import("incus.errors")
                  .attr("from_native")(static_cast<int>(incus_error_code(error)), to_str(message.data(), message.size()), causes);
  PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(made.ptr())), made.ptr());
  throw py::error_already_set();
}

/// Runs a call of the C face without the GIL and raises its error with it.
template <class F> void call(F &&f) {
  incus_error *error = nullptr;
  incus_status status;
  {
    py::gil_scoped_release release;
    status = f(&error);
  }
  if (status != INCUS_OK) raise(error);
}

/// Milliseconds as the C face takes them; none: for ever, as for a time that does not end.
std::optional<std::int64_t> milliseconds(std::optional<double> seconds) {
  if (!seconds || *seconds == std::numeric_limits<double>::infinity()) return {};
  if (std::isnan(*seconds)) throw py::value_error("a timeout must be a number of seconds, not NaN");
  return static_cast<std::int64_t>(std::clamp(*seconds, 0.0, 1e12) * 1000 + 0.999);
}

/// Waits in slices, so that a signal handler of Python (KeyboardInterrupt) runs meanwhile. `slice` returns the status of waiting
/// at most so many milliseconds.
template <class F> void wait_in_slices(std::optional<double> timeout, F &&slice) {
  constexpr std::int64_t step = 200;
  auto seconds = milliseconds(timeout);
  std::int64_t left = seconds.value_or(0);
  for (;;) {
    std::int64_t now = seconds ? std::min(left, step) : step;
    incus_error *error = nullptr;
    incus_status status;
    bool ended = false;
    {
      py::gil_scoped_release release;
      status = slice(now, ended, &error);
    }
    left -= now;
    bool again = status == INCUS_ERROR_TIMEOUT && !ended && (!seconds || left > 0);
    if (status == INCUS_OK) return;
    if (!again) raise(error);
    incus_error_free(error);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

/// Frees a handle without the GIL: closing may wait for a thread that wants it (a log line).
template <class T, void (*Free)(T *)> struct Handle {
  T *p = nullptr;
  explicit Handle(T *handle = nullptr) : p(handle) {}
  Handle(const Handle &) = delete;
  Handle &operator=(const Handle &) = delete;
  ~Handle() {
    if (!p) return;
    py::gil_scoped_release release;
    Free(p);
  }
};

struct Operation : Handle<incus_operation, incus_operation_free> {
  using Handle::Handle;
  py::str id() {
    Text t;
    call([&](auto **e) { return incus_operation_id(p, &t.p, e); });
    return t.str();
  }
  py::str info() {
    Text t;
    call([&](auto **e) { return incus_operation_info(p, &t.p, e); });
    return t.str();
  }
  py::str wait(std::optional<double> timeout) {
    Text t;
    wait_in_slices(timeout, [&](std::int64_t ms, bool &ended, incus_error **e) {
      auto status = incus_operation_wait(p, ms, &t.p, e);
      // The operation's own failure may be a timeout too (a guest that did not stop).
      int done = 0;
      if (status == INCUS_ERROR_TIMEOUT) ended = incus_operation_done(p, &done, nullptr) == INCUS_OK && done;
      return status;
    });
    return t.str();
  }
  bool done() {
    int d = 0;
    call([&](auto **e) { return incus_operation_done(p, &d, e); });
    return d != 0;
  }
  void cancel() {
    call([&](auto **e) { return incus_operation_cancel(p, e); });
  }
};

struct Exec : Handle<incus_exec, incus_exec_free> {
  using Handle::Handle;
  int wait(std::optional<double> timeout) {
    int code = -1;
    wait_in_slices(timeout, [&](std::int64_t ms, bool &, incus_error **e) { return incus_exec_wait(p, ms, &code, e); });
    return code;
  }
  void signal(int number) {
    call([&](auto **e) { return incus_exec_signal(p, number, e); });
  }
  void resize(int width, int height) {
    call([&](auto **e) { return incus_exec_resize(p, width, height, e); });
  }
  void close() {
    py::gil_scoped_release release;
    incus_exec_close(p);
  }
};

struct Listener : Handle<incus_listener, incus_listener_free> {
  using Handle::Handle;
  py::object next(double timeout) {
    Text t;
    call([&](auto **e) { return incus_listener_next(p, milliseconds(timeout).value_or(std::numeric_limits<int>::max()), &t.p, e); });
    return t.p ? py::object(t.str()) : py::object(py::none());
  }
  bool overflowed() {
    int o = 0;
    call([&](auto **e) { return incus_listener_overflowed(p, &o, e); });
    return o != 0;
  }
  void close() {
    call([&](auto **e) { return incus_listener_close(p, e); });
  }
};

bool python_is_up() {
#if PY_VERSION_HEX >= 0x030d0000
  return Py_IsInitialized() && !Py_IsFinalizing();
#else
  return Py_IsInitialized() && !_Py_IsFinalizing();
#endif
}

/// A Python callable that threads of the library call.
struct Callback {
  py::function f;
};

void log_line(incus_log_level level, const char *line, void *data) {
  if (!python_is_up()) return;
  py::gil_scoped_acquire hold;
  try {
    static_cast<Callback *>(data)->f(static_cast<int>(level), to_str(line, std::char_traits<char>::length(line)));
  } catch (py::error_already_set &e) {
    e.discard_as_unraisable("incus log callback");
  }
}

void test_exec(const char *instance, const char *request, const char *input, std::size_t input_size, incus_test_reply *reply, void *data) {
  if (!python_is_up()) return incus_test_reply_set(reply, 126, nullptr, 0, nullptr, 0);
  py::gil_scoped_acquire hold;
  try {
    auto r =
        static_cast<Callback *>(data)->f(py::str(instance), to_str(request, std::char_traits<char>::length(request)), py::bytes(input, input_size));
    auto t = r.cast<py::tuple>();
    auto out = t[1].cast<std::string>(), errors = t[2].cast<std::string>();
    incus_test_reply_set(reply, t[0].cast<int>(), out.data(), out.size(), errors.data(), errors.size());
  } catch (py::error_already_set &e) {
    // As a shell that could not run it: the test sees the traceback where it looks for the command's.
    std::string text = e.what();
    incus_test_reply_set(reply, 126, nullptr, 0, text.data(), text.size());
  } catch (const std::exception &e) {
    std::string text = e.what();
    incus_test_reply_set(reply, 126, nullptr, 0, text.data(), text.size());
  }
}

class Host {
public:
  Host(const std::string &uri, const std::string &options, std::optional<py::function> log) {
    Callback *target = nullptr;
    if (log) target = &callbacks_.emplace_back(Callback{*log});
    call([&](auto **e) { return incus_host_open_logged(uri.c_str(), options.c_str(), target ? log_line : nullptr, target, &host_, e); });
  }
  ~Host() {
    {
      py::gil_scoped_release release;
      incus_host_free(host_);
    }
    callbacks_.clear();
  }
  Host(const Host &) = delete;
  Host &operator=(const Host &) = delete;

  void close() {
    call([&](auto **e) { return incus_host_close(host_, e); });
  }
  py::str uri() { return incus_host_uri(host_); }

  py::tuple perform(const std::string &method, const std::string &path, const Maybe &body, const Maybe &if_match) {
    Text json, etag;
    incus_operation *op = nullptr;
    call([&](auto **e) { return incus_host_call(host_, method.c_str(), path.c_str(), c_str(body), c_str(if_match), &json.p, &etag.p, &op, e); });
    return py::make_tuple(json.str(), etag.str(), op ? py::cast(std::make_unique<Operation>(op)) : py::none());
  }
  std::unique_ptr<Operation> find_operation(const std::string &id) {
    incus_operation *op = nullptr;
    call([&](auto **e) { return incus_operation_find(host_, id.c_str(), &op, e); });
    return std::make_unique<Operation>(op);
  }
  py::str operations() {
    Text json;
    call([&](auto **e) { return incus_operation_list(host_, &json.p, e); });
    return json.str();
  }
  std::unique_ptr<Operation> import_image(const std::string &project, const std::string &path, const Maybe &rootfs, const std::string &how) {
    incus_operation *op = nullptr;
    call([&](auto **e) { return incus_image_import(host_, project.c_str(), path.c_str(), c_str(rootfs), how.c_str(), &op, e); });
    return std::make_unique<Operation>(op);
  }
  py::str export_image(const std::string &project, const std::string &image, const std::string &path) {
    Text files;
    call([&](auto **e) { return incus_image_export(host_, project.c_str(), image.c_str(), path.c_str(), &files.p, e); });
    return files.str();
  }
  /// `owner`: an instance, or pool and volume.
  std::int64_t export_backup(const std::string &project, const std::vector<std::string> &owner, const std::string &backup, int fd) {
    std::int64_t size = 0;
    call([&](auto **e) {
      return owner.size() == 1 ? incus_backup_export(host_, project.c_str(), owner[0].c_str(), backup.c_str(), fd, &size, e)
                               : incus_volume_backup_export(host_, project.c_str(), owner.at(0).c_str(), owner.at(1).c_str(), backup.c_str(), fd, &size, e);
    });
    return size;
  }
  std::unique_ptr<Operation> import_instance(const std::string &project, int fd, const std::string &name, const std::string &pool) {
    incus_operation *op = nullptr;
    call([&](auto **e) { return incus_backup_import(host_, project.c_str(), fd, name.c_str(), pool.c_str(), &op, e); });
    return std::make_unique<Operation>(op);
  }
  std::unique_ptr<Operation> import_volume(const std::string &project, const std::string &pool, int fd, const std::string &name, bool iso) {
    incus_operation *op = nullptr;
    call([&](auto **e) {
      return iso ? incus_volume_import_iso(host_, project.c_str(), pool.c_str(), fd, name.c_str(), &op, e)
                 : incus_volume_backup_import(host_, project.c_str(), pool.c_str(), fd, name.c_str(), &op, e);
    });
    return std::make_unique<Operation>(op);
  }
  py::str launch(const std::string &project, const std::string &name, const std::string &image, const std::string &request, int level,
                 double timeout) {
    Text made;
    auto limit = milliseconds(timeout).value_or(std::numeric_limits<int>::max());
    call([&](auto **e) {
      return incus_instance_launch(host_, project.c_str(), name.c_str(), image.c_str(), request.c_str(), static_cast<incus_ready_level>(level),
                                   limit, &made.p, e);
    });
    return made.str();
  }
  py::bytes console_log(const std::string &project, const std::string &name) {
    Text text;
    call([&](auto **e) { return incus_instance_console_log(host_, project.c_str(), name.c_str(), &text.p, &text.size, e); });
    return text.bytes();
  }
  py::bytes file_read(const std::string &project, const std::string &name, const std::string &path) {
    Text data;
    call([&](auto **e) { return incus_file_read(host_, project.c_str(), name.c_str(), path.c_str(), &data.p, &data.size, e); });
    return data.bytes();
  }
  void file_write(const std::string &project, const std::string &name, const std::string &path, const py::bytes &data, const std::string &options) {
    std::string in = data;
    call([&](auto **e) { return incus_file_write(host_, project.c_str(), name.c_str(), path.c_str(), in.data(), in.size(), options.c_str(), e); });
  }
  std::int64_t file_pull(const std::string &project, const std::string &name, const std::string &path, int fd) {
    std::int64_t size = 0;
    call([&](auto **e) { return incus_file_pull(host_, project.c_str(), name.c_str(), path.c_str(), fd, &size, e); });
    return size;
  }
  void file_push(const std::string &project, const std::string &name, const std::string &path, int fd, const std::string &options) {
    call([&](auto **e) { return incus_file_push(host_, project.c_str(), name.c_str(), path.c_str(), fd, options.c_str(), e); });
  }
  py::str file_info(const std::string &project, const std::string &name, const std::string &path) {
    Text json;
    call([&](auto **e) { return incus_file_info(host_, project.c_str(), name.c_str(), path.c_str(), &json.p, e); });
    return json.str();
  }
  py::str file_list(const std::string &project, const std::string &name, const std::string &path) {
    Text json;
    call([&](auto **e) { return incus_file_list(host_, project.c_str(), name.c_str(), path.c_str(), &json.p, e); });
    return json.str();
  }
  void file_make_directory(const std::string &project, const std::string &name, const std::string &path, const std::string &options) {
    call([&](auto **e) { return incus_file_make_directory(host_, project.c_str(), name.c_str(), path.c_str(), options.c_str(), e); });
  }
  void file_make_symlink(const std::string &project, const std::string &name, const std::string &path, const std::string &target) {
    call([&](auto **e) { return incus_file_make_symlink(host_, project.c_str(), name.c_str(), path.c_str(), target.c_str(), e); });
  }
  void file_remove(const std::string &project, const std::string &name, const std::string &path, bool recursive) {
    call([&](auto **e) { return incus_file_remove(host_, project.c_str(), name.c_str(), path.c_str(), recursive, e); });
  }
  py::tuple exec_run(const std::string &project, const std::string &name, const std::string &request, const py::bytes &input) {
    int code = -1;
    Text out, errors;
    std::string in = input;
    call([&](auto **e) {
      return incus_exec_run(host_, project.c_str(), name.c_str(), request.c_str(), in.data(), in.size(), &code, &out.p, &out.size, &errors.p,
                            &errors.size, e);
    });
    return py::make_tuple(code, out.bytes(), errors.bytes());
  }
  std::unique_ptr<Exec> exec_start(const std::string &project, const std::string &name, const std::string &request, int in, int out, int errors) {
    incus_exec *exec = nullptr;
    call([&](auto **e) { return incus_exec_start(host_, project.c_str(), name.c_str(), request.c_str(), in, out, errors, &exec, e); });
    return std::make_unique<Exec>(exec);
  }
  std::unique_ptr<Listener> listen(const std::string &types, std::size_t capacity) {
    incus_listener *listener = nullptr;
    call([&](auto **e) { return incus_host_listen(host_, types.c_str(), capacity, &listener, e); });
    return std::make_unique<Listener>(listener);
  }
  void on_exec(const std::string &instance, std::optional<py::function> handler) {
    // Kept until the host is gone: a replaced handler may still be running.
    Callback *target = nullptr;
    if (handler) target = &callbacks_.emplace_back(Callback{*handler});
    call([&](auto **e) { return incus_host_on_exec(host_, instance.c_str(), target ? test_exec : nullptr, target, e); });
  }

private:
  incus_host *host_ = nullptr;
  std::list<Callback> callbacks_;
};

} // namespace

PYBIND11_MODULE(_native, m) {
  m.attr("version") = incus_version();
  py::class_<Operation>(m, "Operation")
      .def("id", &Operation::id)
      .def("info", &Operation::info)
      .def("wait", &Operation::wait)
      .def("done", &Operation::done)
      .def("cancel", &Operation::cancel);
  py::class_<Exec>(m, "Exec").def("wait", &Exec::wait).def("signal", &Exec::signal).def("resize", &Exec::resize).def("close", &Exec::close);
  py::class_<Listener>(m, "Listener").def("next", &Listener::next).def("overflowed", &Listener::overflowed).def("close", &Listener::close);
  py::class_<Host>(m, "Host")
      .def(py::init<const std::string &, const std::string &, std::optional<py::function>>())
      .def("close", &Host::close)
      .def("uri", &Host::uri)
      .def("perform", &Host::perform)
      .def("find_operation", &Host::find_operation)
      .def("operations", &Host::operations)
      .def("import_image", &Host::import_image)
      .def("export_image", &Host::export_image)
      .def("export_backup", &Host::export_backup)
      .def("import_instance", &Host::import_instance)
      .def("import_volume", &Host::import_volume)
      .def("launch", &Host::launch)
      .def("console_log", &Host::console_log)
      .def("file_read", &Host::file_read)
      .def("file_write", &Host::file_write)
      .def("file_pull", &Host::file_pull)
      .def("file_push", &Host::file_push)
      .def("file_info", &Host::file_info)
      .def("file_list", &Host::file_list)
      .def("file_make_directory", &Host::file_make_directory)
      .def("file_make_symlink", &Host::file_make_symlink)
      .def("file_remove", &Host::file_remove)
      .def("exec_run", &Host::exec_run)
      .def("exec_start", &Host::exec_start)
      .def("listen", &Host::listen)
      .def("on_exec", &Host::on_exec);
}
